"""In front of a server with accounts: other sites, other names, forms; and what becomes of a command whose sender goes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from orchestrator.ground import Refused, bind
from tests.support.app import new_id
from tests.support.people import PASSWORD, Person, Team, accounts_settings, team

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Team]:
    async with team(accounts_settings(tmp_path_factory.mktemp("data"), allowed_hosts="chat.example")) as one:
        yield one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def admin(here: Team) -> Person:
    return await here.member("admin@example.org")


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1:1", "http://chat.example"]
)
async def test_a_page_of_another_origin_gains_nothing_from_the_cookie(here: Team, admin: Person, origin: str) -> None:
    headers = {"Origin": origin}
    id = new_id()
    assert (await admin.ask("PUT", f"/api/conversations/{id}", {}, headers=headers))[0] == 403
    assert (await admin.ask("GET", "/api/conversations", headers=headers))[0] == 403
    assert (await admin.ask("POST", "/api/auth/login", {"email": "x", "password": "y"}, headers=headers))[0] == 403
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await admin.http.ws_connect(f"{here.url}/ws", headers=headers)
    assert (await admin.ask("GET", f"/api/conversations/{id}"))[0] == 404


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_a_request_that_another_site_made_the_browser_send_is_refused(here: Team, admin: Person, site: str) -> None:
    for more in ({}, {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}):
        headers = {"Sec-Fetch-Site": site, **more}
        assert (await admin.ask("GET", "/api/conversations", headers=headers))[0] == 403
        assert (await admin.ask("POST", "/api/auth/logout", headers=headers))[0] == 403
    assert (await admin.ok("GET", "/api/auth/state"))["user"] is not None


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "TEXT/PLAIN"]
)
async def test_what_a_form_can_send_is_not_read(here: Team, admin: Person, kind: str) -> None:
    id = new_id()
    for method, path in (("PUT", f"/api/conversations/{id}"), ("POST", "/api/auth/logout"), ("POST", "/api/admin/invites")):
        status, _, _ = await admin.ask(method, path, data=b'{"title":"x"}', headers={"Content-Type": kind})
        assert status == 415, (method, path)
    assert (await admin.ask("GET", f"/api/conversations/{id}"))[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "chat.example.evil.example", "", "a@127.0.0.1", "127.0.0.1.nip.io"])
async def test_another_name_is_refused_but_for_probes(here: Team, admin: Person, host: str) -> None:
    for path in ("/", "/api/auth/state", "/v1/models"):
        assert (await admin.ask("GET", path, headers={"Host": host}))[0] in (400, 403)
    assert (await admin.ask("GET", "/healthz", headers={"Host": host or "10.0.0.7:8000"}))[0] == 200


async def test_links_begin_with_the_name_that_was_asked_for(here: Team, admin: Person) -> None:
    header = {"Host": "chat.example", "Cookie": f"codeact_login={admin.secret()}"}
    made = await here.person("x").ok("POST", "/api/admin/invites", {}, headers=header)
    assert made["link"].startswith("http://chat.example/#invite=")


async def test_nothing_of_an_account_is_kept_by_caches_and_pages_are_sealed(here: Team, admin: Person) -> None:
    _, _, headers = await admin.ask("GET", "/api/auth/state")
    assert headers["Cache-Control"] == "no-store" and headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    _, _, refused = await here.person("x").ask("GET", "/api/conversations")
    assert refused["Cache-Control"] == "no-store" and refused["WWW-Authenticate"] == "Bearer"
    _, _, page = await here.person("x").ask("GET", "/")
    assert "Set-Cookie" not in page, "no session of the time before accounts"


async def test_the_key_of_a_server_without_accounts_opens_nothing(here: Team, admin: Person) -> None:
    assert not (here.app.app.state.settings.data_dir / "session.token").exists()
    for secret in ("x" * 43, PASSWORD):
        for header in ({"Authorization": f"Bearer {secret}"}, {"Cookie": f"codeact_session={secret}"}):
            assert (await here.person("x").ask("GET", "/api/conversations", headers=header))[0] == 401


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"email":"a@b.c"}', b"[" * 60_000])
async def test_what_cannot_be_read_is_refused_in_words(here: Team, body: bytes) -> None:
    for path in ("/api/auth/login", "/api/auth/register", "/api/auth/reset"):
        status, answer, _ = await here.person("x").ask(
            "POST", path, data=body, headers={"Content-Type": "application/json"}
        )
        assert status in (400, 422), (path, answer)
        assert set(answer) == {"error", "detail"}


async def test_a_body_that_is_too_large_is_not_read(here: Team, admin: Person) -> None:
    """Nobody has to be signed in to send one."""

    async def without_end() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b" " * 1000

    json = {"Content-Type": "application/json"}
    for path in ("/api/auth/login", "/api/admin/invites"):
        assert (await admin.ask("POST", path, data=b" " * 70_000, headers=json))[0] == 413
        assert (await admin.ask("POST", path, data=without_end(), headers=json))[0] == 411


async def test_a_command_that_has_begun_is_carried_out_when_its_sender_is_hung_up_on(here: Team, admin: Person) -> None:
    """Else a message could be stored, and nobody answer it."""
    ann = await here.member(f"ann-{new_id()}@example.org")
    id = new_id()
    await ann.ok("PUT", f"/api/conversations/{id}", {})
    socket = await ann.socket()
    turns: Any = here.app.app.state.parts.turns
    begun, go_on, real = asyncio.Event(), asyncio.Event(), turns._store.open_turn

    async def slow(*values: Any, **more: Any) -> Any:
        begun.set()
        await go_on.wait()
        return await real(*values, **more)

    turns._store.open_turn = slow
    try:
        await socket.send_json({"type": "message.send", "conversation": id, "turn": "t", "text": "hello"})
        await asyncio.wait_for(begun.wait(), 20)
        await admin.ok("PATCH", f"/api/admin/users/{await ann.id()}", {"disabled": True})
        go_on.set()
        closing = await socket.receive(timeout=20)
        while closing.type is aiohttp.WSMsgType.TEXT:
            closing = await socket.receive(timeout=20)
        assert closing.data == 4401
    finally:
        turns._store.open_turn = real
    await turns.wait(id, "t")
    store = here.app.app.state.parts.store
    events = await store.events(id)
    assert events[0].text == "hello" and events[-1].type == "turn.closed"


async def test_with_accounts_it_may_listen_where_others_can_reach_it() -> None:
    with bind("127.0.0.2", 0, everywhere=True) as listener:
        assert listener.getsockname()[0] == "127.0.0.2"
    with pytest.raises(Refused, match="no address of this machine"):
        bind("no such name", 0, everywhere=True)
    with pytest.raises(Refused, match="CODEACT_AUTH=accounts"):
        bind("192.0.2.1", 0)


async def test_an_address_cannot_write_lines_of_its_own_into_the_log(here: Team, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        await here.person("x").ask("GET", "/api/x%0a2026-11-24%20INFO%20forged")
    assert "forged" in caplog.text and not [line for line in caplog.text.splitlines() if line.startswith("2026-11-24 INFO")]
