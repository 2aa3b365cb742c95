"""What administrators do to accounts, and that one of them stays. Real server, real store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.people import Person, Team, accounts_settings, team


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Team]:
    async with team(accounts_settings(tmp_path)) as one:
        yield one


@pytest.fixture
async def admin(here: Team) -> Person:
    return await here.member("admin@example.org")


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
