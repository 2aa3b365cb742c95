"""How often one may try to sign in: per account and address, per address, per account; and who the address is."""

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


async def test_after_a_few_wrong_passwords_one_waits_even_with_the_right_one(here: Team, admin: Person) -> None:
    other = await here.member("other@example.org")
    answers = await asyncio.gather(*(admin.login("wrong password") for _ in range(8)))
    assert sorted(status for status, _, _ in answers) == [401] * 5 + [429] * 3
    status, answer, headers = await admin.login()
    assert status == 429 and 0 < int(headers["Retry-After"]) <= 300 and "minute" in answer["detail"]
    assert (await other.login())[0] == 200, "nobody else waits"


async def test_the_right_password_gives_tries_back(here: Team, admin: Person) -> None:
    for _ in range(2):
        for _ in range(4):
            assert (await admin.login("wrong password"))[0] == 401
        assert (await admin.login())[0] == 200


async def test_one_address_that_tries_many_accounts_waits(here: Team, admin: Person) -> None:
    for n in range(28):  # as many as these, without the work of hashing
        await here.people.service._throttle.sign_in(f"guess{n}@example.org", "127.0.0.1")
    statuses = [(await here.person(f"more{n}@example.org").login("wrong password"))[0] for n in range(4)]
    assert statuses == [401] * 2 + [429] * 2
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
