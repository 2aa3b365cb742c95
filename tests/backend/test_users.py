"""Accounts: registering, signing in and out, passwords, sessions. Real server, real store."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import aiohttp
import pytest
from sqlalchemy import text

from orchestrator.users import sessions as sessions_module
from tests.support.people import PASSWORD, Person, Team, accounts_settings, team
from tests.support.raw_sql import raw


@pytest.fixture
async def here(tmp_path: Path):
    async with team(accounts_settings(tmp_path)) as one:
        yield one


@pytest.fixture
async def admin(here: Team) -> Person:
    return await here.member("admin@example.org")


async def who(person: Person) -> str | None:
    user = (await person.ok("GET", "/api/auth/state"))["user"]
    return user["email"] if user else None


# ---- registering -------------------------------------------------------------------------------------------------------


async def test_the_first_to_register_is_administrator_and_the_next_is_not(here: Team) -> None:
    one, two = here.person("One@Example.org "), here.person("two@example.org")
    assert (await one.ok("GET", "/api/auth/state"))["registration"] == "first"
    assert (await one.register())["role"] == "admin"
    assert (await two.ok("GET", "/api/auth/state"))["registration"] == "open"
    assert (await two.register())["role"] == "user"
    assert await who(one) == "one@example.org"


async def test_of_many_who_are_first_at_once_one_becomes_administrator(here: Team) -> None:
    people = [here.person(f"p{n}@example.org") for n in range(6)]
    users = await asyncio.gather(*(person.register() for person in people))
    assert sorted(user["role"] for user in users) == ["admin", *["user"] * 5]


async def test_an_address_registers_once_however_it_is_written(here: Team, admin: Person) -> None:
    again = here.person("ADMIN@example.org")
    status, answer, _ = await again.ask(
        "POST", "/api/auth/register", {"email": again.email, "name": "x", "password": PASSWORD, "invite": None}
    )
    assert (status, answer["error"]) == (409, "Taken")


@pytest.mark.parametrize("registration", ["closed", "invite"])
async def test_where_registration_is_not_open_only_an_invitation_lets_in(tmp_path: Path, registration: str) -> None:
    async with team(accounts_settings(tmp_path, registration=registration)) as here:
        admin = await here.member("admin@example.org")
        stranger = here.person("new@example.org")
        body = {"email": stranger.email, "name": "New", "password": PASSWORD, "invite": None}
        assert (await stranger.ask("POST", "/api/auth/register", body))[0] == 403
        made = await admin.ok("POST", "/api/admin/invites", {"group": "lab"})
        secret = made["link"].partition("#invite=")[2]
        assert (await stranger.ask("POST", "/api/auth/register", {**body, "invite": secret[:-1] + "x"}))[0] == 403
        assert (await stranger.register(secret))["role"] == "user"
        [_, line] = (await admin.ok("GET", "/api/admin/users"))["users"]
        assert (line["email"], line["group"]) == ("new@example.org", "lab")
        other = here.person("other@example.org")
        status, answer, _ = await other.ask("POST", "/api/auth/register", {**body, "email": other.email, "invite": secret})
        assert (status, answer["error"]) == (403, "Forbidden")


async def test_an_invitation_is_used_by_one_of_many_who_try_at_once(tmp_path: Path) -> None:
    async with team(accounts_settings(tmp_path, registration="invite")) as here:
        admin = await here.member("admin@example.org")
        secret = (await admin.ok("POST", "/api/admin/invites", {}))["link"].partition("#invite=")[2]
        bodies = [{"email": f"p{n}@example.org", "name": "x", "password": PASSWORD, "invite": secret} for n in range(5)]
        people = [here.person(body["email"]) for body in bodies]
        answers = await asyncio.gather(
            *(person.ask("POST", "/api/auth/register", body) for person, body in zip(people, bodies, strict=True))
        )
        assert sorted(status for status, _, _ in answers) == [200, 403, 403, 403, 403]
        assert len((await admin.ok("GET", "/api/admin/users"))["users"]) == 2


async def test_an_invitation_for_one_address_is_for_nobody_else_and_can_be_withdrawn(tmp_path: Path) -> None:
    async with team(accounts_settings(tmp_path, registration="closed")) as here:
        admin = await here.member("admin@example.org")
        made = await admin.ok("POST", "/api/admin/invites", {"email": "Ann@example.org", "role": "admin"})
        secret = made["link"].partition("#invite=")[2]
        body = {"email": "eve@example.org", "name": "x", "password": PASSWORD, "invite": secret}
        assert (await here.person("eve@example.org").ask("POST", "/api/auth/register", body))[0] == 403
        assert (await here.person("ann@example.org").register(secret))["role"] == "admin"
        other = await admin.ok("POST", "/api/admin/invites", {})
        await admin.ok("DELETE", f"/api/admin/invites/{other['line']['id']}")
        body["invite"] = other["link"].partition("#invite=")[2]
        assert (await here.person("eve@example.org").ask("POST", "/api/auth/register", body))[0] == 403


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("password", "short"), ("password", "aaaaaaaaaaaaaaa"), ("password", "x" * 1001), ("password", "new@example.org"),
        ("email", "nobody"), ("email", "a b@example.org"), ("email", "a@b@c"), ("email", "x" * 250 + "@example.org"),
        ("email", "a\u0000@example.org"), ("name", ""), ("name", " "), ("name", "a\u202eb"), ("name", "x" * 101),
        ("role", "admin"), ("password", {"$ne": ""}), ("email", None),
    ],
)  # fmt: skip
async def test_what_cannot_be_registered_is_refused_in_words_that_do_not_repeat_it(
    here: Team, admin: Person, field: str, value: object
) -> None:
    body = {"email": "new@example.org", "name": "New", "password": PASSWORD, "invite": None, field: value}
    status, answer, _ = await here.person("new@example.org").ask("POST", "/api/auth/register", body)
    assert status in (400, 422) and set(answer) == {"error", "detail"}
    if field == "password" and isinstance(value, str):
        assert value not in answer["detail"]
    assert len((await admin.ok("GET", "/api/admin/users"))["users"]) == 1


async def test_conversations_of_the_time_before_accounts_go_to_the_first(tmp_path: Path) -> None:
    async with team(accounts_settings(tmp_path)) as here:
        await here.app.app.state.parts.store.create_conversation("local", "old", "Mine", 1.0)
        admin = await here.member("admin@example.org")
        other = await here.member("other@example.org")
        assert [line["id"] for line in (await admin.ok("GET", "/api/conversations"))["conversations"]] == ["old"]
        assert (await other.ok("GET", "/api/conversations"))["conversations"] == []


# ---- signing in --------------------------------------------------------------------------------------------------------


async def test_signing_in_and_out(here: Team, admin: Person) -> None:
    assert await who(admin) == "admin@example.org"
    old = admin.secret()
    await admin.ok("POST", "/api/auth/logout")
    assert await who(admin) is None
    assert (await admin.ask("GET", "/api/conversations"))[0] == 401
    stale = {"Cookie": f"codeact_login={old}"}
    assert (await here.person("x").ask("GET", "/api/conversations", headers=stale))[0] == 401
    assert (await admin.login())[0] == 200
    assert await who(admin) == "admin@example.org"


async def test_a_wrong_password_and_an_unknown_address_are_answered_alike(here: Team, admin: Person) -> None:
    stranger = here.person("nobody@example.org")
    wrong = await admin.login("not the password")
    unknown = await stranger.login("not the password")
    assert wrong[:2] == unknown[:2] and wrong[0] == 401
    assert "Set-Cookie" not in wrong[2] and "Set-Cookie" not in unknown[2]


async def test_a_name_that_nobody_has_costs_as_much_work_as_one_that_somebody_has(here: Team, admin: Person) -> None:
    """The same hash is computed, whatever the clock says."""
    from argon2 import PasswordHasher

    seen: list[str] = []
    real = PasswordHasher.verify

    def counting(self: PasswordHasher, hash: str, password: str) -> bool:
        seen.append(hash.rsplit("$", 2)[0])
        return real(self, hash, password)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PasswordHasher, "verify", counting)
        await admin.login("not the password")
        await here.person("nobody@example.org").login("not the password")
    assert len(seen) == 2 and seen[0] == seen[1] and "argon2id" in seen[0]


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(here: Team, admin: Person) -> None:
    cookie = (await admin.login())[2]["Set-Cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=Strict", "Path=/")) and "Domain" not in cookie


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


async def test_a_session_that_was_there_before_is_not_carried_into_the_new_one(here: Team, admin: Person) -> None:
    victim = await here.member("victim@example.org")
    await victim.ok("POST", "/api/auth/logout")
    planted = admin.secret()
    victim.http.cookie_jar.update_cookies({"codeact_login": planted}, response_url=aiohttp.client.URL(here.url))
    assert (await victim.login())[0] == 200
    assert victim.secret() != planted and await who(victim) == "victim@example.org"
    assert (await admin.ask("GET", "/api/conversations"))[0] == 401, "the planted session has ended"


async def test_a_cookie_that_nobody_gave_out_is_no_session(here: Team, admin: Person) -> None:
    for secret in ("", "x" * 43, "guess", admin.secret()[:-1], admin.secret() + "=", "\x00" * 43, "é" * 40, "x" * 9000):
        header = {"Cookie": f"codeact_login={secret}"}
        try:
            status, _, _ = await here.person("x").ask("GET", "/api/conversations", headers=header)
        except ValueError:  # the client itself will not send it
            continue
        assert status in (400, 401, 431), secret


async def test_a_session_as_a_bearer_and_a_token_as_a_cookie_are_nothing(here: Team, admin: Person) -> None:
    token = await admin.token("chat")
    stranger = here.person("x")
    for header in ({"Authorization": f"Bearer {admin.secret()}"}, {"Cookie": f"codeact_login={token}"}):
        assert (await stranger.ask("GET", "/api/conversations", headers=header))[0] == 401


async def test_only_hashes_are_stored(here: Team, admin: Person) -> None:
    token = await admin.token("chat")
    invite = (await admin.ok("POST", "/api/admin/invites", {}))["link"].partition("=")[2]
    reset = (await admin.ok("POST", f"/api/admin/users/{await admin.id()}/reset"))["link"].partition("=")[2]
    kept = ""
    async with raw(here.app.app.state.parts.store) as connection:
        for table in ("users", "sessions", "api_tokens", "invites", "resets", "audit", "attempts"):
            kept += str((await connection.execute(text(f"SELECT * FROM {table}"))).all())
    for secret in (PASSWORD, admin.secret(), token, invite, reset):
        assert secret and secret not in kept
    assert "$argon2id$" in kept


async def test_nothing_secret_is_logged(here: Team, admin: Person, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        await admin.login("a wrong password")
        await admin.login()
        token = await admin.token("read")
        await here.person("x").ask("GET", "/api/admin/users", headers={"Authorization": f"Bearer {token}"})
        await admin.ask("POST", "/api/auth/password", {"old": "wrong", "new": "another password"})
    for secret in ("a wrong password", PASSWORD, "another password", token, admin.secret()):
        assert secret not in caplog.text


# ---- throttling --------------------------------------------------------------------------------------------------------


async def test_after_a_few_wrong_passwords_one_waits_even_with_the_right_one(here: Team, admin: Person) -> None:
    other = await here.member("other@example.org")
    answers = await asyncio.gather(*(admin.login("wrong password") for _ in range(8)))
    assert sorted(status for status, _, _ in answers) == [401] * 5 + [429] * 3
    status, answer, headers = await admin.login()
    assert status == 429 and 0 < int(headers["Retry-After"]) <= 300 and "minute" in answer["detail"]
    assert (await other.login())[0] == 200, "nobody else waits"


async def test_the_right_password_gives_tries_back(here: Team, admin: Person) -> None:
    for _ in range(4):
        for _ in range(4):
            assert (await admin.login("wrong password"))[0] == 401
        assert (await admin.login())[0] == 200


async def test_one_address_that_tries_many_accounts_waits(here: Team, admin: Person) -> None:
    people = [here.person(f"guess{n}@example.org") for n in range(32)]
    statuses = [(await person.login("wrong password"))[0] for person in people]
    assert statuses == [401] * 30 + [429] * 2
    assert (await admin.login())[0] == 429


async def test_a_proxy_that_is_not_trusted_cannot_name_another_client(here: Team, admin: Person) -> None:
    for n in range(7):
        forged = {"X-Forwarded-For": f"203.0.113.{n}", "X-Real-IP": f"203.0.113.{n}", "Forwarded": f"for=203.0.113.{n}"}
        body = {"email": admin.email, "password": "wrong password"}
        status, _, _ = await admin.ask("POST", "/api/auth/login", body, headers=forged)
    assert status == 429


async def test_behind_a_trusted_proxy_each_client_is_counted_by_itself(tmp_path: Path) -> None:
    async with team(accounts_settings(tmp_path, trusted_proxies="127.0.0.0/8")) as here:
        admin = await here.member("admin@example.org")
        body = {"email": admin.email, "password": "wrong password"}
        for _ in range(6):
            status, _, _ = await admin.ask("POST", "/api/auth/login", body, headers={"X-Forwarded-For": "203.0.113.1"})
        assert status == 429
        lied = {"X-Forwarded-For": "198.51.100.7, 203.0.113.1"}
        assert (await admin.ask("POST", "/api/auth/login", body, headers=lied))[0] == 429, "what the client says of itself"
        assert (await admin.ask("POST", "/api/auth/login", body, headers={"X-Forwarded-For": "203.0.113.2"}))[0] == 401
        secure = await admin.ask(
            "POST", "/api/auth/login", {**body, "password": PASSWORD},
            headers={"X-Forwarded-For": "203.0.113.3", "X-Forwarded-Proto": "https"},
        )  # fmt: skip
        assert "; Secure" in secure[2]["Set-Cookie"]


# ---- passwords and sessions --------------------------------------------------------------------------------------------


async def test_a_new_password_ends_all_other_sessions_and_renews_this_one(here: Team, admin: Person) -> None:
    elsewhere = here.person(admin.email)
    await elsewhere.login()
    socket = await elsewhere.socket()
    mine = await admin.socket()
    before = admin.secret()
    assert (await admin.ask("POST", "/api/auth/password", {"old": "not it at all", "new": "a new password"}))[0] == 400
    await admin.ok("POST", "/api/auth/password", {"old": PASSWORD, "new": "a new password"})
    assert (await elsewhere.ask("GET", "/api/conversations"))[0] == 401
    assert (await socket.receive(timeout=10)).data == 4401
    assert admin.secret() != before and await who(admin) == admin.email
    old = {"Cookie": f"codeact_login={before}"}
    assert (await here.person("x").ask("GET", "/api/conversations", headers=old))[0] == 401
    await mine.send_json({"type": "ping"})
    assert (await mine.receive_json(timeout=10))["type"] == "pong"
    assert (await elsewhere.login())[0] == 401 and (await elsewhere.login("a new password"))[0] == 200


async def test_an_administrators_link_sets_a_password_once(here: Team, admin: Person) -> None:
    person = await here.member("ann@example.org")
    first = (await admin.ok("POST", f"/api/admin/users/{await person.id()}/reset"))["link"].partition("#reset=")[2]
    secret = (await admin.ok("POST", f"/api/admin/users/{await person.id()}/reset"))["link"].partition("#reset=")[2]
    elsewhere = here.person(person.email)
    body = {"token": secret, "password": "a new password"}
    assert (await elsewhere.ask("POST", "/api/auth/reset", {**body, "token": first}))[0] == 403, "the newest one holds"
    await elsewhere.ok("POST", "/api/auth/reset", body)
    assert await who(elsewhere) == person.email
    assert (await person.ask("GET", "/api/conversations"))[0] == 401
    assert (await here.person("x").ask("POST", "/api/auth/reset", body))[0] == 403
    assert (await person.login("a new password"))[0] == 200


async def test_sessions_are_listed_and_ended_and_whoever_is_connected_goes(here: Team, admin: Person) -> None:
    phone = here.person(admin.email)
    await phone.login()
    socket = await phone.socket()
    lines = (await admin.ok("GET", "/api/auth/sessions"))["sessions"]
    [other] = [line for line in lines if not line["current"]]
    await admin.ok("DELETE", f"/api/auth/sessions/{other['id']}")
    closing = await socket.receive(timeout=10)
    assert (closing.type, closing.data) == (aiohttp.WSMsgType.CLOSE, 4401)
    assert (await phone.ask("GET", "/api/conversations"))[0] == 401
    assert (await admin.ask("DELETE", f"/api/auth/sessions/{other['id']}"))[0] == 404


async def test_a_session_slides_while_it_is_used_and_ends_when_it_is_not(here: Team, admin: Person) -> None:
    keys, clock = here.accounts.keys, here.people.sessions._clock
    [session] = await keys.sessions(await admin.id(), clock())
    later = session.created_at + sessions_module.IDLE_S - 60
    here.people.sessions._clock = lambda: later
    here.people.sessions.forget_all()
    assert await who(admin) == admin.email
    [session] = await keys.sessions(await admin.id(), clock())
    assert session.expires_at == pytest.approx(later + sessions_module.IDLE_S)
    here.people.sessions._clock = lambda: later + sessions_module.IDLE_S + 1
    here.people.sessions.forget_all()
    assert await who(admin) is None


async def test_no_session_lives_longer_than_the_longest(here: Team, admin: Person) -> None:
    keys = here.accounts.keys
    [session] = await keys.sessions(await admin.id(), 0)
    at = session.created_at
    while at < session.created_at + sessions_module.LONGEST_S:
        here.people.sessions._clock = lambda at=at: at
        here.people.sessions.forget_all()
        assert await who(admin) == admin.email, at
        at += sessions_module.IDLE_S - 60
    here.people.sessions._clock = lambda: session.created_at + sessions_module.LONGEST_S + 1
    here.people.sessions.forget_all()
    assert await who(admin) is None


# ---- administrators ----------------------------------------------------------------------------------------------------


async def test_a_disabled_user_is_out_at_once_by_every_way_in(here: Team, admin: Person) -> None:
    person = await here.member("ann@example.org")
    token = {"Authorization": f"Bearer {await person.token('chat')}"}
    program = here.person("program")
    socket = await person.socket()
    by_token = await program.http.ws_connect(f"{here.url}/ws", headers=token)
    assert (await by_token.receive_json(timeout=10))["type"] == "hello"
    id = await person.id()
    assert (await admin.ok("PATCH", f"/api/admin/users/{id}", {"disabled": True}))["disabled"] is True
    for connection in (socket, by_token):
        assert (await connection.receive(timeout=10)).data == 4401
    assert (await person.ask("GET", "/api/conversations"))[0] == 401
    assert (await program.ask("GET", "/v1/models", headers=token))[0] == 401
    status, answer, _ = await person.login()
    assert (status, "disabled" in answer["detail"]) == (403, True)
    await admin.ok("PATCH", f"/api/admin/users/{id}", {"disabled": False})
    assert (await person.login())[0] == 200
    assert (await program.ask("GET", "/v1/models", headers=token))[0] == 200


async def test_a_new_role_holds_at_once(here: Team, admin: Person) -> None:
    person = await here.member("ann@example.org")
    assert (await person.ask("GET", "/api/admin/users"))[0] == 403
    await admin.ok("PATCH", f"/api/admin/users/{await person.id()}", {"role": "admin"})
    assert (await person.ask("GET", "/api/admin/users"))[0] == 200
    await person.ok("PATCH", f"/api/admin/users/{await admin.id()}", {"role": "user"})
    assert (await admin.ask("GET", "/api/admin/users"))[0] == 403


async def test_the_last_administrator_stays_one(here: Team, admin: Person) -> None:
    id = await admin.id()
    for change in ({"role": "user"}, {"disabled": True}, {"role": "user", "disabled": True}):
        status, answer, _ = await admin.ask("PATCH", f"/api/admin/users/{id}", change)
        assert (status, answer["error"]) == (409, "Taken")
    other = await here.member("ann@example.org")
    await admin.ok("PATCH", f"/api/admin/users/{await other.id()}", {"role": "admin"})
    answers = await asyncio.gather(
        admin.ask("PATCH", f"/api/admin/users/{await other.id()}", {"role": "user"}),
        other.ask("PATCH", f"/api/admin/users/{id}", {"role": "user"}),
    )
    assert 409 in {status for status, _, _ in answers} or 403 in {status for status, _, _ in answers}
    lines = [line for line, _ in await here.accounts.users.all()]
    assert [line.role for line in lines].count("admin") == 1


async def test_what_is_done_to_accounts_is_written_down_without_secrets(here: Team, admin: Person) -> None:
    person = await here.member("ann@example.org")
    await person.login("not the password")
    await person.token("read")
    await admin.ok("PATCH", f"/api/admin/users/{await person.id()}", {"role": "admin", "group": "lab"})
    lines = await here.accounts.audit.read(None, 100)
    actions = [line.action for line in reversed(lines)]
    assert actions == [
        "user.registered", "sign_in.done", "user.registered", "sign_in.done", "sign_in.failed", "token.made",
        "user.role_changed", "user.group_changed",
    ]  # fmt: skip
    assert lines[0].actor == await admin.id() and lines[0].subject == await person.id()
    assert [line.id for line in await here.accounts.audit.read(lines[2].id, 2)] == [lines[3].id, lines[4].id]
