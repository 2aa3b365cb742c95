"""Passwords, sessions, and being shut out. Real server, real store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import aiohttp
import pytest
import pytest_asyncio

from orchestrator.users.sessions import IDLE_S, LONGEST_S
from tests.support.app import new_id
from tests.support.people import PASSWORD, Person, Team, accounts_settings, team

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Team]:
    async with team(accounts_settings(tmp_path_factory.mktemp("data"))) as one:
        yield one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def admin(here: Team) -> Person:
    return await here.member("admin@example.org")


@pytest_asyncio.fixture(loop_scope="module")
async def ann(here: Team, admin: Person) -> Person:
    """Somebody new in every test."""
    return await here.member(f"ann-{new_id()}@example.org")


async def who(person: Person) -> str | None:
    user = (await person.ok("GET", "/api/auth/state"))["user"]
    return user["email"] if user else None


async def test_a_new_password_ends_all_other_sessions_and_renews_this_one(here: Team, ann: Person) -> None:
    elsewhere = here.person(ann.email)
    await elsewhere.login()
    socket = await elsewhere.socket()
    mine = await ann.socket()
    before = ann.secret()
    assert (await ann.ask("POST", "/api/auth/password", {"old": "not it at all", "new": "a new password"}))[0] == 400
    await ann.ok("POST", "/api/auth/password", {"old": PASSWORD, "new": "a new password"})
    assert (await elsewhere.ask("GET", "/api/conversations"))[0] == 401
    assert (await socket.receive(timeout=10)).data == 4401
    assert ann.secret() != before and await who(ann) == ann.email
    old = {"Cookie": f"codeact_login={before}"}
    assert (await here.person("x").ask("GET", "/api/conversations", headers=old))[0] == 401
    await mine.send_json({"type": "ping"})
    assert (await mine.receive_json(timeout=10))["type"] == "pong"
    assert (await elsewhere.login())[0] == 401 and (await elsewhere.login("a new password"))[0] == 200


async def test_sessions_are_listed_and_ended_and_whoever_is_connected_goes(here: Team, ann: Person) -> None:
    phone = here.person(ann.email)
    await phone.login()
    socket = await phone.socket()
    lines = (await ann.ok("GET", "/api/auth/sessions"))["sessions"]
    [other] = [line for line in lines if not line["current"]]
    await ann.ok("DELETE", f"/api/auth/sessions/{other['id']}")
    closing = await socket.receive(timeout=10)
    assert (closing.type, closing.data) == (aiohttp.WSMsgType.CLOSE, 4401)
    assert (await phone.ask("GET", "/api/conversations"))[0] == 401
    assert (await ann.ask("DELETE", f"/api/auth/sessions/{other['id']}"))[0] == 404


@pytest.fixture
def at(here: Team) -> Iterator[Callable[[float], None]]:
    """Sets the server's clock for sessions."""
    sessions = here.people.sessions
    real = sessions._clock

    def set_to(now: float) -> None:
        sessions._clock = lambda: now
        sessions.forget_all()

    yield set_to
    sessions._clock = real
    sessions.forget_all()


async def test_a_session_slides_while_it_is_used_and_ends_when_it_is_not(
    here: Team, ann: Person, at: Callable[[float], None]
) -> None:
    [session] = await here.accounts.keys.sessions(await ann.id(), 0)
    later = session.created_at + IDLE_S - 60
    at(later)
    assert await who(ann) == ann.email
    [session] = await here.accounts.keys.sessions(session.user, 0)
    assert session.expires_at == pytest.approx(later + IDLE_S)
    at(later + IDLE_S + 1)
    assert await who(ann) is None


async def test_no_session_lives_longer_than_the_longest(here: Team, ann: Person, at: Callable[[float], None]) -> None:
    [session] = await here.accounts.keys.sessions(await ann.id(), 0)
    now = session.created_at
    while now < session.created_at + LONGEST_S:
        at(now)
        assert await who(ann) == ann.email, now
        now += IDLE_S - 60
    at(session.created_at + LONGEST_S + 1)
    assert await who(ann) is None


async def test_an_administrators_link_sets_a_password_once(here: Team, admin: Person, ann: Person) -> None:
    first = (await admin.ok("POST", f"/api/admin/users/{await ann.id()}/reset"))["link"].partition("#reset=")[2]
    secret = (await admin.ok("POST", f"/api/admin/users/{await ann.id()}/reset"))["link"].partition("#reset=")[2]
    elsewhere = here.person(ann.email)
    body = {"token": secret, "password": "a new password"}
    assert (await elsewhere.ask("POST", "/api/auth/reset", {**body, "token": first}))[0] == 403, "the newest one holds"
    await elsewhere.ok("POST", "/api/auth/reset", body)
    assert await who(elsewhere) == ann.email
    assert (await ann.ask("GET", "/api/conversations"))[0] == 401
    assert (await here.person("x").ask("POST", "/api/auth/reset", body))[0] == 403
    assert (await ann.login("a new password"))[0] == 200


async def test_a_disabled_user_is_out_at_once_by_every_way_in(here: Team, admin: Person, ann: Person) -> None:
    token = {"Authorization": f"Bearer {await ann.token('chat')}"}
    program = here.person("program")
    socket = await ann.socket()
    by_token = await program.http.ws_connect(f"{here.url}/ws", headers=token)
    assert (await by_token.receive_json(timeout=10))["type"] == "hello"
    id = await ann.id()
    assert (await admin.ok("PATCH", f"/api/admin/users/{id}", {"disabled": True}))["disabled"] is True
    for connection in (socket, by_token):
        assert (await connection.receive(timeout=10)).data == 4401
    assert (await ann.ask("GET", "/api/conversations"))[0] == 401
    assert (await program.ask("GET", "/v1/models", headers=token))[0] == 401
    status, answer, _ = await ann.login()
    assert (status, "disabled" in answer["detail"]) == (403, True)
    await admin.ok("PATCH", f"/api/admin/users/{id}", {"disabled": False})
    assert (await ann.login())[0] == 200
    assert (await program.ask("GET", "/v1/models", headers=token))[0] == 200
