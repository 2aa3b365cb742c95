"""Values that have hurt servers before, in every field and address, on both databases: refused or kept, never a 5xx."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from yarl import URL

from tests.security.nasty import NASTY_HEADERS, NASTY_IN_ADDRESSES, NOT_JSON, replaced
from tests.security.scene import DATABASES, MARK, Scene, on
from tests.support.app import new_id
from tests.support.people import PASSWORD, Person

pytestmark = pytest.mark.asyncio(loop_scope="module")

AWAY = ("/readyz", "/api/admin/sandboxes/")

BODIES: dict[str, Any] = {
    "POST /api/auth/register": {"email": "new@example.org", "name": "New", "password": "short", "invite": "x"},
    "POST /api/auth/login": {"email": "none@example.org", "password": "x"},
    "POST /api/auth/password": {"old": "x", "new": PASSWORD},
    "POST /api/auth/reset": {"token": "x", "password": PASSWORD},
    "POST /api/auth/tokens": {"label": "x", "scopes": ["read"], "days": 1},
    "POST /api/auth/oidc/x/start": {"return_to": "/", "invite": "x", "connect": False},
    "PUT /api/conversations/mine": {"title": "x"},
    "PATCH /api/conversations/mine": {"title": "x"},
    "PATCH /api/admin/users/{id}": {"role": "user", "disabled": False, "group": "x"},
    "POST /api/admin/invites": {"email": "new@example.org", "role": "user", "group": "x"},
    "PUT /api/admin/quotas": {"scope": "group", "name": "x", "limits": [{"what": "disk", "most": 1}]},
    "POST /v1/chat/completions": {
        "model": "codeact",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "metadata": {"conversation_id": "none"},
        "stream_options": {"include_usage": True},
        "response_format": {"type": "text"},
        "n": 1,
    },
}  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=DATABASES)
async def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with on(request, tmp_path_factory.mktemp("data")) as one:
        yield one


async def ask(person: Person, method: str, path: str, data: str | None = None) -> tuple[int, str]:
    """Status and text of an answer that is not our fault."""
    more: dict[str, Any] = {}
    if data is not None:
        more = {"headers": {"Content-Type": "application/json"}, "data": data.encode()}
    url = URL(person.url + path, encoded=True)
    async with person.http.request(method, url, allow_redirects=False, **more) as answer:
        text = await answer.text()
        away = answer.status == 503 and path.startswith(AWAY)
        assert answer.status < 500 or away, (method, path, (data or "")[:300], text)
        return answer.status, text


def asker(scene: Scene, path: str) -> Person:
    if "/admin/" in path:
        return scene.admin
    return scene.stranger if path.endswith(("register", "login", "reset")) else scene.bob


@pytest.mark.timeout(180)
@pytest.mark.parametrize("route", BODIES)
async def test_in_bodies(scene: Scene, route: str) -> None:
    method, _, path = route.partition(" ")
    by = asker(scene, path)
    if "{id}" in path:
        path = path.replace("{id}", await (await scene.here.member(f"{new_id()}@example.org")).id())
    if "conversations" in path:
        await by.ok("PUT", "/api/conversations/mine", {})
    refused = 0
    for body in replaced(BODIES[route]):
        status, text = await ask(by, method, path, json.dumps(body))
        refused += status >= 400
        assert MARK not in text
    assert refused > len(BODIES[route])
    assert (await by.ask("GET", "/api/auth/state"))[0] == 200


async def test_in_addresses(scene: Scene) -> None:
    for nasty in NASTY_IN_ADDRESSES:
        for path in (f"/{nasty}", f"/assets/{nasty}", f"/assets/{nasty}.js", f"/api/{nasty}", f"/api/conversations/{nasty}",
                     f"/api/admin/turns/{nasty}/{nasty}/stop", f"/v1/{nasty}", f"/v1/models/{nasty}",
                     f"/api/auth/oidc/{nasty}/callback", f"/api/conversations?before={nasty}&limit={nasty}",
                     f"/api/admin/audit?before={nasty}", f"/api/admin/usage?days={nasty}",
                     f"/api/auth/oidc/x/start?return_to={nasty}"):  # fmt: skip
            for method in ("GET", "DELETE", "POST", "PUT"):
                for by in (scene.admin, scene.stranger):
                    await ask(by, method, path)


@pytest.mark.parametrize("before", ["nan", "inf", "-inf", "1e400", "-1", "9" * 30])
async def test_in_numbers(scene: Scene, before: str) -> None:
    await ask(scene.bob, "GET", f"/api/conversations?before={before}")
    await ask(scene.admin, "GET", f"/api/admin/audit?before={before}")


async def test_bodies_that_are_not_json(scene: Scene) -> None:
    for route in BODIES:
        method, _, path = route.partition(" ")
        for data in NOT_JSON:
            status, _ = await ask(scene.admin, method, path.replace("{id}", "none"), data)
            assert status in ((200, 400, 404, 413, 422) if data == "" else (400, 404, 413, 422)), (route, data[:20], status)


NAMES = ("User-Agent", "Cookie", "Authorization", "Origin", "X-Forwarded-For", "Content-Type", "Accept", "traceparent")


@pytest.mark.parametrize("name", NAMES)
async def test_in_headers(scene: Scene, name: str) -> None:
    """What is not even HTTP, the server's own parser refuses; these get through it."""
    body = json.dumps({"email": "none@example.org", "password": "x"}).encode()
    for value in NASTY_HEADERS:
        headers = {"Content-Type": "application/json", name: value}
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{scene.url}/api/auth/state", headers=headers) as answer:
                assert answer.status < 500, value
            async with http.post(f"{scene.url}/api/auth/login", data=body, headers=headers) as answer:
                assert 400 <= answer.status < 500, value
