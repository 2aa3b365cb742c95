"""What opens an account stands in no log, at any level: invitations, links to reset a password, what a provider sends."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest_asyncio

from tests.support.oidc_provider import CLIENT, SECRET
from tests.support.people import NO_MODEL, PASSWORD, Person
from tests.support.process import Served

NEW_PASSWORD = "a quite different parrot"
ROOT = Path(__file__).parents[2]


@pytest_asyncio.fixture
async def issuer() -> AsyncIterator[str]:
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.oidc_provider", cwd=ROOT, stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert running.stdout is not None and running.stdin is not None
    yield (await running.stdout.readline()).decode().strip()
    running.stdin.close()
    await running.wait()


async def follow(person: Person, address: str) -> tuple[int, str]:
    async with person.http.get(address, allow_redirects=False) as answer:
        return answer.status, answer.headers.get("Location", "")


async def by_provider(person: Person, issuer: str) -> set[str]:
    """Signs in, comes back twice, comes back with a code that does not hold; the secrets that passed by."""
    _, away = await follow(person, f"{person.url}/api/auth/oidc/oidc/start")
    _, back = await follow(person, away)
    asked = parse_qs(urlsplit(back).query)
    status, on = await follow(person, back)
    assert (status, on) == (303, "/"), "signed in"
    secrets = {asked["code"][0], asked["state"][0], parse_qs(urlsplit(away).query)["nonce"][0], person.secret()}
    await follow(person, back)
    async with aiohttp.ClientSession() as http:
        wrong = {"token_status": 500}
        async with http.post(f"{issuer}/control", json={"twist": wrong}) as answer:
            assert answer.ok
    _, away = await follow(person, f"{person.url}/api/auth/oidc/oidc/start")
    _, back = await follow(person, away)
    _, on = await follow(person, back)
    assert "sign_in_error" in on
    asked = parse_qs(urlsplit(back).query)
    return secrets | {asked["code"][0], asked["state"][0]}


async def by_links(admin: Person, guest: Person) -> set[str]:
    """An invitation and a link to reset, made, used and used again; the secrets that passed by."""
    await admin.register()
    made = await admin.ok("POST", "/api/admin/invites", {})
    invite = urlsplit(made["link"]).fragment.removeprefix("invite=")
    user = await guest.register(invite)
    first = guest.secret()
    link = (await admin.ok("POST", f"/api/admin/users/{user['id']}/reset"))["link"]
    reset = urlsplit(link).fragment.removeprefix("reset=")
    assert len(invite) > 20 and len(reset) > 20
    for expected in (True, False):
        status, _, _ = await guest.ask("POST", "/api/auth/reset", {"token": reset, "password": NEW_PASSWORD})
        assert (status == 200) is expected
    again = {"email": "other@example.org", "name": "x", "password": PASSWORD, "invite": invite}
    assert (await guest.ask("POST", "/api/auth/register", again))[0] >= 400
    await guest.ask("GET", f"/?invite={invite}&reset={reset}")
    await guest.ask("GET", f"/api/auth/state?token={reset}")
    return {invite, reset, first, guest.secret(), admin.secret()}


async def test_links_and_providers_leave_no_secret_in_the_log(tmp_path: Path, issuer: str) -> None:
    data, ui = tmp_path / "data", tmp_path / "ui"
    for place in (data, ui):
        place.mkdir()
    (ui / "index.html").write_text("<!doctype html>")
    settings = {
        "CODEACT_LOG_FORMAT": "json", "CODEACT_LOG_LEVEL": "debug", "CODEACT_UI_DIR": str(ui), "CODEACT_AUTH": "accounts",
        "CODEACT_REGISTRATION": "invite", "CODEACT_OIDC_ISSUER": issuer, "CODEACT_OIDC_CLIENT_ID": CLIENT,
        "CODEACT_OIDC_CLIENT_SECRET": SECRET, "CODEACT_OIDC_NEWCOMERS": "true",
    }  # fmt: skip
    async with Served(data, NO_MODEL, **settings) as served:
        people = [Person(served.url, f"{name}@example.org") for name in ("admin", "guest", "visitor")]
        try:
            secrets = await by_links(*people[:2])
            secrets |= await by_provider(people[2], issuer)
        finally:
            for person in people:
                await person.http.close()
    routes = {json.loads(line).get("route") for line in served.output.splitlines()}
    assert {"/api/auth/reset", "/api/auth/oidc/{id}/callback", "/api/admin/invites"} <= routes, "it was logged"
    assert all(len(secret) > 15 for secret in secrets)
    for secret in (*secrets, SECRET, PASSWORD, NEW_PASSWORD):
        assert secret not in served.output, f"{secret} is told"
