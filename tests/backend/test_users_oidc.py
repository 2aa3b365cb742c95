"""Signing in with a real OpenID provider, in a process of its own; and everything it or somebody else may try."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
import pytest_asyncio

from orchestrator.errors import BadSetting
from orchestrator.users.oidc import Config, Provider
from orchestrator.users.visits import own_path
from tests.support.oidc_provider import CLIENT, SECRET
from tests.support.people import PASSWORD, Person, Team, accounts_settings, team

pytestmark = pytest.mark.asyncio(loop_scope="module")

HTML = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


class Elsewhere:
    """The provider's process."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer

    async def be(self, **wanted: Any) -> int:
        """Set who is signed in and what is wrong; how often the keys were fetched."""
        async with aiohttp.ClientSession() as http, http.post(f"{self.issuer}/control", json=wanted) as answer:
            return int((await answer.json())["fetched"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def process() -> AsyncIterator[str]:
    root = Path(__file__).parents[2]
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.oidc_provider", cwd=root, stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert running.stdout is not None and running.stdin is not None
    yield (await running.stdout.readline()).decode().strip()
    running.stdin.close()
    await running.wait()


@pytest_asyncio.fixture(loop_scope="module")
async def elsewhere(process: str) -> Elsewhere:
    one = Elsewhere(process)
    await one.be(user=who("ann"), twist={})
    return one


def who(name: str) -> dict[str, Any]:
    return {"sub": f"{name}-1", "email": f"{name}@example.org", "email_verified": True, "name": name.title()}


def settings_of(data: Path, issuer: str, **more: Any):
    oidc = {"oidc_issuer": issuer, "oidc_client_id": CLIENT, "oidc_client_secret": SECRET}
    return accounts_settings(data, **oidc, **more)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory, process: str) -> AsyncIterator[Team]:
    async with team(settings_of(tmp_path_factory.mktemp("data"), process)) as one:
        await one.member("admin@example.org")
        yield one


async def leave(person: Person, **query: str) -> str:
    """To the provider and up to where it sends one back to."""
    status, _, headers = await person.ask("GET", "/api/auth/oidc/oidc/start", params=query)
    assert status == 303
    return await at_provider(headers["Location"])


async def at_provider(address: str) -> str:
    async with aiohttp.ClientSession() as http, http.get(address, allow_redirects=False) as answer:
        assert answer.status == 302, await answer.text()
        return answer.headers["Location"]


async def back(person: Person, address: str) -> str:
    """Back at ours, as a browser comes from another site; where one goes on."""
    headers = {**HTML, "Sec-Fetch-Site": "cross-site"}
    path = address.removeprefix(person.url)
    status, _, answered = await person.ask("GET", path, headers=headers)
    assert status == 303
    return str(answered["Location"])


async def signed_in(person: Person) -> dict[str, Any] | None:
    user: dict[str, Any] | None = (await person.ok("GET", "/api/auth/state"))["user"]
    return user


async def through(person: Person, **query: str) -> str:
    return await back(person, await leave(person, **query))


async def test_the_first_visit_makes_an_account_and_the_next_finds_it(here: Team, elsewhere: Elsewhere) -> None:
    person = here.person("")
    state = await person.ok("GET", "/api/auth/state")
    assert state["oidc"] == [{"id": "oidc", "label": "Single sign-on"}]
    assert await through(person, return_to="/c/abc?x=1#y") == "/c/abc?x=1#y"
    user = await signed_in(person)
    assert user is not None and (user["email"], user["name"], user["role"]) == ("ann@example.org", "Ann", "user")
    [session] = (await person.ok("GET", "/api/auth/sessions"))["sessions"]
    assert session["how"] == "oidc:oidc"
    await elsewhere.be(user=who("ann") | {"email": "moved@example.org"})
    other = here.person("")
    await through(other)
    assert (await signed_in(other)) == user, "who they are there, not their address"


async def test_an_account_with_that_address_is_not_handed_over(here: Team, elsewhere: Elsewhere) -> None:
    """Somebody may have registered with it to get at whoever comes from the provider later, or the other way round."""
    await elsewhere.be(user=who("eve"))
    await here.member("eve@example.org")
    visitor = here.person("")
    assert await through(visitor) == "/?sign_in_error=email_taken"
    assert await signed_in(visitor) is None


async def test_an_account_is_connected_while_signed_in_and_no_other_way(here: Team, elsewhere: Elsewhere) -> None:
    await elsewhere.be(user=who("bob"))
    bob = await here.member("bob@example.org")
    assert (await here.person("").ask("POST", "/api/auth/oidc/oidc/start", {"connect": True}))[0] == 401
    gone = await bob.ok("POST", "/api/auth/oidc/oidc/start", {"connect": True, "return_to": "/settings"})
    assert await back(bob, await at_provider(gone["location"])) == "/settings"
    visitor = here.person("")
    assert await through(visitor) == "/"
    assert (await signed_in(visitor)) == await signed_in(bob)
    carol = await here.member("carol@example.org")
    gone = await carol.ok("POST", "/api/auth/oidc/oidc/start", {"connect": True})
    assert await back(carol, await at_provider(gone["location"])) == "/?sign_in_error=connected_elsewhere"


async def test_whoever_was_signed_in_before_is_not_any_more(here: Team, elsewhere: Elsewhere) -> None:
    await elsewhere.be(user=who("dora"))
    person = await here.member("before@example.org")
    before = person.secret()
    await through(person)
    user = await signed_in(person)
    assert user is not None and user["email"] == "dora@example.org" and person.secret() != before


@pytest.mark.parametrize(
    "twist",
    [
        {"claims": {"nonce": "n" * 43}}, {"claims": {"nonce": None}}, {"claims": {"aud": "somebody else"}},
        {"claims": {"aud": None}}, {"claims": {"aud": [CLIENT, "other"]}}, {"claims": {"azp": "other"}},
        {"claims": {"aud": [CLIENT, "other"], "azp": "other"}}, {"claims": {"iss": "https://evil.example"}},
        {"claims": {"exp": 1_000_000_000}}, {"claims": {"exp": None}}, {"claims": {"iat": 1_000_000_000}},
        {"claims": {"iat": 9_000_000_000}}, {"claims": {"iat": None}}, {"claims": {"sub": None}}, {"claims": {"sub": ""}},
        {"claims": {"sub": "x" * 300}}, {"claims": {"sub": ["ann-1"]}}, {"claims": {"exp": "soon"}},
        {"alg": "none"}, {"alg": "HS256"}, {"key": True}, {"kid": "nobody"}, {"kid": "enc"}, {"tamper": True},
        {"by_userinfo": True, "userinfo": {"sub": "somebody-else"}}, {"token_status": 500}, {"token_status": 302},
        {"iss": "https://evil.example"}, {"error": "server_error"},
    ],
    ids=str,
)  # fmt: skip
async def test_what_cannot_be_trusted_signs_nobody_in(here: Team, elsewhere: Elsewhere, twist: dict[str, Any]) -> None:
    await elsewhere.be(twist=twist)
    person = here.person("")
    assert await through(person) == "/?sign_in_error=failed"
    assert await signed_in(person) is None


@pytest.mark.parametrize("email", ["", "no address", None, 7, ["a@example.org"], "a@b@c"])
async def test_a_newcomer_has_an_address(here: Team, elsewhere: Elsewhere, email: object) -> None:
    await elsewhere.be(user={"sub": "new-1", "email": email, "name": "New"})
    person = here.person("")
    assert await through(person) == "/?sign_in_error=failed"
    assert await signed_in(person) is None


async def test_saying_no_at_the_provider_is_no_failure(here: Team, elsewhere: Elsewhere) -> None:
    await elsewhere.be(twist={"error": "access_denied"})
    assert await through(here.person("")) == "/?sign_in_error=cancelled"


async def test_who_they_are_may_be_told_by_user_info(here: Team, elsewhere: Elsewhere) -> None:
    await elsewhere.be(user=who("ina"), twist={"by_userinfo": True})
    person = here.person("")
    assert await through(person) == "/"
    user = await signed_in(person)
    assert user is not None and user["email"] == "ina@example.org"


async def test_a_key_that_is_new_is_fetched_and_one_that_is_not_there_is_not_asked_for_again_and_again(
    here: Team, elsewhere: Elsewhere
) -> None:
    visits = here.people.visits._providers["oidc"]
    assert await through(here.person("")) == "/"
    await elsewhere.be(rotate=True)
    visits._clock = lambda clock=visits._clock: clock() + 31  # the last look was a while ago
    assert await through(here.person("")) == "/"
    fetched = await elsewhere.be(twist={"kid": "nobody"})
    for _ in range(5):
        assert await through(here.person("")) == "/?sign_in_error=failed"
    assert await elsewhere.be() - fetched <= 1


async def test_an_answer_is_taken_up_once(here: Team, elsewhere: Elsewhere) -> None:
    person = here.person("")
    address = await leave(person)
    assert await back(person, address) == "/"
    await person.ok("POST", "/api/auth/logout")
    assert await back(person, address) == "/?sign_in_error=expired"
    assert await signed_in(person) is None


async def test_of_many_who_come_back_with_one_answer_one_is_let_in(here: Team, elsewhere: Elsewhere) -> None:
    person = here.person("")
    address = await leave(person)
    places = await asyncio.gather(*(back(person, address) for _ in range(6)))
    assert sorted(places) == ["/", *["/?sign_in_error=expired"] * 5]


async def test_an_answer_is_of_no_use_in_another_browser(here: Team, elsewhere: Elsewhere) -> None:
    """Else an attacker signs a victim in to the attacker's own account, and reads along."""
    attacker, victim = here.person(""), here.person("")
    address = await leave(attacker)
    await leave(victim)
    assert await back(victim, address) == "/?sign_in_error=expired"
    assert await signed_in(victim) is None
    assert await back(attacker, address) == "/?sign_in_error=expired", "and none to the attacker any more"


async def test_a_state_that_nobody_gave_out_or_that_is_too_old_is_nothing(here: Team, elsewhere: Elsewhere) -> None:
    person = here.person("")
    for query in ("", "?state=x&code=y", "?code=y", "?state=" + "x" * 5000 + "&code=y", "?state=%00&code=%ff"):
        assert await back(person, f"{here.url}/api/auth/oidc/oidc/callback{query}") == "/?sign_in_error=expired"
    address = await leave(person)
    visits = here.people.visits
    before, visits._clock = visits._clock, lambda: before() + 601
    try:
        assert await back(person, address) == "/?sign_in_error=expired"
    finally:
        visits._clock = before


async def test_the_code_is_bound_to_whoever_asked_for_it(here: Team, elsewhere: Elsewhere) -> None:
    """A code that was stolen is worth nothing with another visit's verifier (PKCE)."""
    thief, victim = here.person(""), here.person("")
    theirs = parse_qs(urlsplit(await leave(thief)).query)
    stolen = parse_qs(urlsplit(await leave(victim)).query)
    mixed = f"{here.url}/api/auth/oidc/oidc/callback?state={theirs['state'][0]}&code={stolen['code'][0]}"
    assert await back(thief, mixed) == "/?sign_in_error=failed"


@pytest.mark.parametrize(
    "place",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "\\\\evil.example", "javascript:alert(1)",
     "/\t/evil.example", "evil.example", "", "/\r\nSet-Cookie: x=y", "///evil.example", "/api/auth/logout",
     "http:/evil.example"],
)  # fmt: skip
async def test_nobody_is_sent_to_another_site_in_our_name(here: Team, elsewhere: Elsewhere, place: str) -> None:
    assert own_path(place) == "/"
    assert await through(here.person(""), return_to=place) == "/"


async def test_a_provider_that_nobody_has_set_is_not_there(here: Team) -> None:
    for path in ("/api/auth/oidc/other/start", "/api/auth/oidc/other/callback"):
        assert (await here.person("").ask("GET", path))[0] == 404


async def test_another_site_can_send_nobody_off_to_the_provider(here: Team, elsewhere: Elsewhere) -> None:
    headers = {**HTML, "Sec-Fetch-Site": "cross-site"}
    assert (await here.person("").ask("GET", "/api/auth/oidc/oidc/start", headers=headers))[0] == 403
    frame = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
    assert (await here.person("").ask("GET", "/api/auth/oidc/oidc/callback", headers=frame))[0] == 403


async def test_a_disabled_account_stays_out(here: Team, elsewhere: Elsewhere) -> None:
    await elsewhere.be(user=who("hugo"))
    person, admin = here.person(""), here.person("admin@example.org")
    await through(person)
    await admin.login(PASSWORD)
    await admin.ok("PATCH", f"/api/admin/users/{await person.id()}", {"disabled": True})
    assert await through(person) == "/?sign_in_error=disabled"


async def test_where_registration_is_closed_newcomers_need_an_invitation_or_the_operators_word(
    tmp_path: Path, elsewhere: Elsewhere
) -> None:
    async with team(settings_of(tmp_path / "a", elsewhere.issuer, registration="invite")) as here:
        admin = await here.member("admin@example.org")
        person = here.person("")
        assert await through(person) == "/?sign_in_error=no_account"
        invite = (await admin.ok("POST", "/api/admin/invites", {"group": "lab"}))["link"].partition("#invite=")[2]
        gone = await person.ok("POST", "/api/auth/oidc/oidc/start", {"invite": invite})
        assert invite not in gone["location"]
        assert await back(person, await at_provider(gone["location"])) == "/"
        line = next(line for line in (await admin.ok("GET", "/api/admin/users"))["users"] if line["group"] == "lab")
        assert (line["providers"], line["has_password"]) == (["oidc"], False)
        await person.ok("POST", "/api/auth/password", {"new": "a first password"})
        person.email = "ann@example.org"
        assert (await person.login("a first password"))[0] == 200
    async with team(settings_of(tmp_path / "b", elsewhere.issuer, registration="closed", oidc_newcomers=True)) as here:
        await here.member("admin@example.org")
        person = here.person("")
        assert await through(person) == "/"


async def test_a_provider_that_is_away_is_told_on_the_page(tmp_path: Path) -> None:
    async with team(settings_of(tmp_path, "http://127.0.0.1:9")) as here:
        person = here.person("")
        status, _, headers = await person.ask("GET", "/api/auth/oidc/oidc/start")
        assert (status, headers["Location"]) == (303, "/?sign_in_error=failed")
        status, answer, _ = await person.ask("POST", "/api/auth/oidc/oidc/start", {})
        assert status == 503 and "another way" in answer["detail"]


@pytest.mark.parametrize("issuer", ["http://login.example.org", "ftp://x", "login.example.org", "https"])
async def test_a_provider_is_https_or_on_this_machine(issuer: str) -> None:
    with pytest.raises(BadSetting, match="https"):
        Provider(Config("oidc", "x", issuer, "id", "", "openid"), lambda: 0.0)


async def test_a_provider_that_calls_itself_otherwise_or_leads_astray_is_not_believed(
    here: Team, elsewhere: Elsewhere
) -> None:
    provider = here.people.visits._providers["oidc"]
    for lie in ({"issuer": "https://evil.example"}, {"token_endpoint": "ftp://x"}, {"jwks_uri": "file:///etc/passwd"}):
        provider._about = provider._keys = None
        await elsewhere.be(twist={"configuration": lie})
        status, _, headers = await here.person("").ask("GET", "/api/auth/oidc/oidc/start")
        if "issuer" in lie:
            assert (status, headers["Location"]) == (303, "/?sign_in_error=failed")
        else:
            person = here.person("")
            assert await through(person) == "/?sign_in_error=failed"
    provider._about = provider._keys = None
