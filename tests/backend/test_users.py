"""Registering: who is let in, as what, and who is not. Real server, real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.people import PASSWORD, Person, Team, accounts_settings, team


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Team]:
    async with team(accounts_settings(tmp_path)) as one:
        yield one


@pytest.fixture
async def admin(here: Team) -> Person:
    return await here.member("admin@example.org")


async def who(person: Person) -> str | None:
    user = (await person.ok("GET", "/api/auth/state"))["user"]
    return user["email"] if user else None


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
