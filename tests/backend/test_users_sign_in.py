"""Signing in and out, and what of it is kept. Real server, real store."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from sqlalchemy import text

from tests.support.app import new_id
from tests.support.people import PASSWORD, Person, Team, accounts_settings, team
from tests.support.raw_sql import raw

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


async def test_signing_in_and_out(here: Team, ann: Person) -> None:
    assert await who(ann) == ann.email
    old = ann.secret()
    await ann.ok("POST", "/api/auth/logout")
    assert await who(ann) is None
    assert (await ann.ask("GET", "/api/conversations"))[0] == 401
    stale = {"Cookie": f"codeact_login={old}"}
    assert (await here.person("x").ask("GET", "/api/conversations", headers=stale))[0] == 401
    assert (await ann.login())[0] == 200
    assert await who(ann) == ann.email


async def test_a_wrong_password_and_an_unknown_address_are_answered_alike(here: Team, ann: Person) -> None:
    stranger = here.person("nobody@example.org")
    wrong = await ann.login("not the password")
    unknown = await stranger.login("not the password")
    assert wrong[:2] == unknown[:2] and wrong[0] == 401
    assert "Set-Cookie" not in wrong[2] and "Set-Cookie" not in unknown[2]


async def test_a_name_that_nobody_has_costs_as_much_work_as_one_that_somebody_has(here: Team, ann: Person) -> None:
    """The same hash is computed, whatever the clock says."""
    from argon2 import PasswordHasher

    seen: list[str] = []
    real = PasswordHasher.verify

    def counting(self: PasswordHasher, hash: str, password: str) -> bool:
        seen.append(hash.rsplit("$", 2)[0])
        return real(self, hash, password)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PasswordHasher, "verify", counting)
        await ann.login("not the password")
        await here.person("nobody@example.org").login("not the password")
    assert len(seen) == 2 and seen[0] == seen[1] and "argon2id" in seen[0]


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(here: Team, ann: Person) -> None:
    cookie = (await ann.login())[2]["Set-Cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=Strict", "Path=/")) and "Domain" not in cookie


async def test_a_cookie_that_nobody_gave_out_is_no_session(here: Team, ann: Person) -> None:
    for secret in ("", "x" * 43, "guess", ann.secret()[:-1], ann.secret() + "=", "\x00" * 43, "é" * 40, "x" * 9000):
        header = {"Cookie": f"codeact_login={secret}"}
        try:
            status, _, _ = await here.person("x").ask("GET", "/api/conversations", headers=header)
        except ValueError:  # the client itself will not send it
            continue
        assert status in (400, 401, 431), secret


async def test_a_session_as_a_bearer_and_a_token_as_a_cookie_are_nothing(here: Team, ann: Person) -> None:
    token = await ann.token("chat")
    stranger = here.person("x")
    for header in ({"Authorization": f"Bearer {ann.secret()}"}, {"Cookie": f"codeact_login={token}"}):
        assert (await stranger.ask("GET", "/api/conversations", headers=header))[0] == 401


async def test_nothing_secret_is_logged(here: Team, ann: Person, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        await ann.login("a wrong password")
        await ann.login()
        token = await ann.token("read")
        await here.person("x").ask("GET", "/api/admin/users", headers={"Authorization": f"Bearer {token}"})
        await ann.ask("POST", "/api/auth/password", {"old": "wrong", "new": "another password"})
    for secret in ("a wrong password", PASSWORD, "another password", token, ann.secret()):
        assert secret not in caplog.text


async def test_a_session_that_was_there_before_is_not_carried_into_the_new_one(here: Team, ann: Person) -> None:
    victim = await here.member(f"victim-{new_id()}@example.org")
    await victim.ok("POST", "/api/auth/logout")
    planted = ann.secret()
    victim.http.cookie_jar.update_cookies({"codeact_login": planted}, response_url=aiohttp.client.URL(here.url))
    assert (await victim.login())[0] == 200
    assert victim.secret() != planted and await who(victim) == victim.email
    assert (await ann.ask("GET", "/api/conversations"))[0] == 401, "the planted session has ended"


async def test_only_hashes_are_stored(here: Team, admin: Person, ann: Person) -> None:
    token = await ann.token("chat")
    invite = (await admin.ok("POST", "/api/admin/invites", {}))["link"].partition("=")[2]
    reset = (await admin.ok("POST", f"/api/admin/users/{await ann.id()}/reset"))["link"].partition("=")[2]
    kept = ""
    async with raw(here.app.app.state.parts.store) as connection:
        for table in ("users", "sessions", "api_tokens", "invites", "resets", "audit", "attempts"):
            kept += str((await connection.execute(text(f"SELECT * FROM {table}"))).all())
    for secret in (PASSWORD, ann.secret(), token, invite, reset):
        assert secret and secret not in kept
    assert "$argon2id$" in kept


async def test_behind_tls_the_cookie_is_secure_and_of_this_host_alone(tmp_path: Path) -> None:
    async with team(accounts_settings(tmp_path, public_url="https://chat.example.org")) as here:
        headers = {"Host": "chat.example.org", "Origin": "https://chat.example.org"}
        body = {"email": "a@example.org", "name": "a", "password": PASSWORD, "invite": None}
        person = here.person("a@example.org")
        status, _, answered = await person.ask("POST", "/api/auth/register", body, headers=headers)
        cookie = answered["Set-Cookie"]
        assert status == 200 and cookie.startswith("__Host-codeact=") and "; Secure" in cookie
        assert answered["Strict-Transport-Security"].startswith("max-age=")
        plain = {**headers, "Origin": "http://chat.example.org"}
        assert (await person.ask("POST", "/api/auth/login", body, headers=plain))[0] == 403
        secret = cookie.partition("=")[2].partition(";")[0]
        known = {**headers, "Cookie": f"__Host-codeact={secret}"}
        assert (await here.person("x").ask("GET", "/api/conversations", headers=known))[0] == 200
        tossed = {**headers, "Cookie": f"codeact_login={secret}"}
        assert (await here.person("x").ask("GET", "/api/conversations", headers=tossed))[0] == 401
        link = (await here.person("x").ok("POST", "/api/admin/invites", {}, headers=known))["link"]
        assert link.startswith("https://chat.example.org/#invite=")
