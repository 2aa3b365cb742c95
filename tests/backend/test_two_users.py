"""What is another's is 404: every route of the app and every command of the websocket, with two users and a stranger.

A route or command that is added later fails here until somebody has said, in the tables below, what another user gets.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import pytest_asyncio
from starlette.routing import Route, WebSocketRoute

from orchestrator.protocol import commands
from orchestrator.protocol.commands import Command
from tests.support.app import new_id
from tests.support.model_server import ScriptedModel
from tests.support.people import Person, Team, accounts_settings, team
from tests.support.scripts import Hold, Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

PUBLIC = "public"  # nothing of anybody's
MINE = "mine"  # only of whoever asks: another one sees an answer without it
THEIRS = "theirs"  # names something of Ann's: Bob gets the same 404 as for what does not exist
ADMIN = "admin"  # administrators alone

ROUTES = {
    "GET /healthz": PUBLIC,
    "GET /readyz": PUBLIC,
    "GET /{path:path}": PUBLIC,
    "GET /api/auth/state": PUBLIC,
    "POST /api/auth/register": PUBLIC,
    "POST /api/auth/login": PUBLIC,
    "POST /api/auth/logout": PUBLIC,
    "POST /api/auth/reset": PUBLIC,
    "GET /api/auth/oidc/{id}/start": PUBLIC,
    "POST /api/auth/oidc/{id}/start": PUBLIC,
    "GET /api/auth/oidc/{id}/callback": PUBLIC,
    "POST /api/auth/password": MINE,
    "GET /api/auth/sessions": MINE,
    "DELETE /api/auth/sessions/{id}": THEIRS,
    "GET /api/auth/tokens": MINE,
    "POST /api/auth/tokens": MINE,
    "DELETE /api/auth/tokens/{id}": THEIRS,
    "GET /api/conversations": MINE,
    "PUT /api/conversations/{id}": THEIRS,
    "GET /api/conversations/{id}": THEIRS,
    "PATCH /api/conversations/{id}": THEIRS,
    "DELETE /api/conversations/{id}": THEIRS,
    "GET /api/quota": MINE,
    "GET /v1/models": MINE,
    "GET /v1/models/{name:path}": MINE,
    "POST /v1/chat/completions": THEIRS,
    **{f"{method} /v1/{{path:path}}": MINE for method in ("GET", "POST", "PUT", "DELETE", "PATCH")},
    "WEBSOCKET /ws": MINE,
}

COMMANDS: dict[type, dict[str, Any] | None] = {
    commands.Subscribe: {"cursor": "x-0"},
    commands.SendMessage: {"turn": "TURN", "text": "hello"},
    commands.ContinueTurn: {"turn": "TURN"},
    commands.StopTurn: {"turn": "TURN"},
    commands.RestartKernel: {},
    commands.Unsubscribe: None,  # of what one has not subscribed to: nothing
    commands.Ping: None,
}
"""What each needs beside a conversation; None: names nobody's conversation, or does nothing to it."""


def routes(of: Any) -> Iterator[tuple[str, str]]:
    """Method and path of every route, those of included routers too."""
    for route in of:
        if isinstance(route, WebSocketRoute):
            yield "WEBSOCKET", route.path
        elif isinstance(route, Route):
            yield from ((method, route.path) for method in sorted((route.methods or set()) - {"HEAD"}))
        else:
            yield from routes(route.original_router.routes)


def category(method: str, path: str) -> str:
    return ADMIN if path.startswith("/api/admin/") else ROUTES[f"{method} {path}"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def held() -> asyncio.Event:
    return asyncio.Event()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory, held: asyncio.Event) -> AsyncIterator[Team]:
    data: Path = tmp_path_factory.mktemp("data")
    script = lambda request: Reply(["I ", Hold(held), "am done."]) if "wait" in request.text else Reply("Hello.")  # noqa: E731
    async with ScriptedModel(script) as model, team(accounts_settings(data, model.base_url)) as one:
        await one.member("admin@example.org")
        yield one


class Scene:
    """Ann has a conversation, a token and a session; Bob is signed in; the stranger is not."""

    def __init__(self, here: Team) -> None:
        self.ann, self.bob = here.person(f"ann-{new_id()}@example.org"), here.person(f"bob-{new_id()}@example.org")
        self.stranger = here.person("stranger")
        self.conversation = new_id()
        self.token = self.session = ""

    async def begin(self) -> Scene:
        await self.ann.register()
        await self.bob.register()
        await self.ann.ok("PUT", f"/api/conversations/{self.conversation}", {"title": "Ann's secret"})
        await self.ann.token("chat")
        [self.token] = [line["id"] for line in (await self.ann.ok("GET", "/api/auth/tokens"))["tokens"]]
        [self.session] = [line["id"] for line in (await self.ann.ok("GET", "/api/auth/sessions"))["sessions"]]
        return self

    def fill(self, path: str, id: str | None = None) -> str:
        """An address with Ann's id, or another one, where the route wants one."""
        theirs = {"/api/auth/sessions/{id}": self.session, "/api/auth/tokens/{id}": self.token}
        return re.sub(r"\{[^}]*\}", id or theirs.get(path, self.conversation), path)

    def body(self, method: str, path: str, id: str | None = None) -> Any:
        """One that the route takes."""
        bodies = {
            "PATCH /api/conversations/{id}": {"title": "Bob's"},
            "PUT /api/conversations/{id}": {"title": "Bob's"},
            "POST /v1/chat/completions": {
                "model": "codeact",
                "messages": [{"role": "user", "content": "hi"}],
                "metadata": {"conversation_id": id or self.conversation},
            },
        }
        return bodies.get(f"{method} {path}")


@pytest_asyncio.fixture(loop_scope="module")
async def scene(here: Team) -> Scene:
    return await Scene(here).begin()


# ---- routes ------------------------------------------------------------------------------------------------------------


async def test_every_route_has_a_place_in_the_table(here: Team) -> None:
    missing = [
        f"{method} {path}"
        for method, path in routes(here.app.app.routes)
        if not path.startswith("/api/admin/") and f"{method} {path}" not in ROUTES
    ]
    assert not missing, "say in ROUTES what another user gets"


def of(here: Team, *kinds: str) -> list[tuple[str, str]]:
    found = [(m, p) for m, p in routes(here.app.app.routes) if m != "WEBSOCKET" and category(m, p) in kinds]
    assert found
    return found


async def test_a_stranger_gets_401_from_every_route_that_is_not_public(here: Team, scene: Scene) -> None:
    for method, path in of(here, MINE, THEIRS, ADMIN):
        status, answer, _ = await scene.stranger.ask(method, scene.fill(path), scene.body(method, path))
        assert status == 401, (method, path, answer)
        socket = await scene.stranger.http.ws_connect(f"{here.url}/ws", headers={"Origin": here.url})
        assert (await socket.receive(timeout=10)).data == 4401


async def test_what_is_anns_is_to_bob_as_if_it_were_not_there(here: Team, scene: Scene) -> None:
    for method, path in of(here, THEIRS):
        body = scene.body(method, path)
        status, answer, _ = await scene.bob.ask(method, scene.fill(path), body)
        assert status == 404, (method, path, answer)
        if method == "PUT":
            continue  # what is not there would be made
        nothing = new_id()
        same = await scene.bob.ask(method, scene.fill(path, nothing), scene.body(method, path, nothing))
        assert same[:2] == (status, answer), (method, path)
    page = await scene.ann.ok("GET", f"/api/conversations/{scene.conversation}")
    assert (page["summary"]["title"], page["events"]) == ("Ann's secret", [])
    assert len((await scene.ann.ok("GET", "/api/auth/tokens"))["tokens"]) == 1


async def test_bobs_lists_hold_nothing_of_anns(here: Team, scene: Scene) -> None:
    for method, path in of(here, MINE):
        if method == "GET":
            _, answer, _ = await scene.bob.ask(method, scene.fill(path))
            for secret in (scene.conversation, scene.token, scene.session, "Ann's secret", scene.ann.email):
                if path not in ("/v1/{path:path}", "/v1/models/{name:path}"):  # these say again what was asked
                    assert secret not in str(answer), (method, path)


async def test_administration_is_closed_to_users_and_to_tokens_of_administrators(here: Team, scene: Scene) -> None:
    admin = here.person("admin@example.org")
    await admin.login()
    token = {"Authorization": f"Bearer {await admin.token('chat', 'read')}"}
    for method, path in of(here, ADMIN):
        assert (await scene.bob.ask(method, scene.fill(path)))[0] == 403, (method, path)
        assert (await scene.stranger.ask(method, scene.fill(path), headers=token))[0] == 403, (method, path)


async def test_an_address_that_nobody_has_thought_of_is_closed(here: Team, scene: Scene) -> None:
    for path in ("/api/new", "/api/admin/new", "/api/authority", "/v1/new", "/api//conversations", "/api/auth/oidcx"):
        assert (await scene.stranger.ask("GET", path))[0] == 401, path
    assert (await scene.bob.ask("GET", "/api/admin/new"))[0] == 403


async def test_a_token_reaches_no_account(here: Team, scene: Scene) -> None:
    headers = {"Authorization": f"Bearer {await scene.bob.token('chat', 'read')}"}
    for path in ("/api/auth/tokens", "/api/auth/sessions"):
        assert (await scene.stranger.ask("GET", path, headers=headers))[0] == 403
    made = {"label": "more", "scopes": ["chat"]}
    assert (await scene.stranger.ask("POST", "/api/auth/tokens", made, headers=headers))[0] == 403
    assert (await scene.stranger.ask("POST", "/api/auth/password", {"new": "a new password"}, headers=headers))[0] == 403


async def test_a_token_for_reading_changes_nothing(here: Team, scene: Scene) -> None:
    headers = {"Authorization": f"Bearer {await scene.ann.token('read')}"}
    for method, path in of(here, MINE, THEIRS):
        if method == "GET" or path.startswith("/api/auth"):
            continue
        status, _, _ = await scene.stranger.ask(method, scene.fill(path), scene.body(method, path), headers=headers)
        assert status == 403, (method, path)
    page = await scene.stranger.ok("GET", f"/api/conversations/{scene.conversation}", headers=headers)
    assert page["summary"]["title"] == "Ann's secret"
    socket = await scene.stranger.http.ws_connect(f"{here.url}/ws", headers=headers)
    await socket.receive_json(timeout=10)
    for kind in (commands.SendMessage, commands.ContinueTurn, commands.StopTurn, commands.RestartKernel):
        refused = await _refused(socket, kind, scene.conversation)
        assert "may only read" in refused["words"]
    assert await _refused(socket, commands.Subscribe, scene.conversation) is None


# ---- commands ----------------------------------------------------------------------------------------------------------


async def test_every_command_has_a_place_in_the_table() -> None:
    assert set(get_args(get_args(Command)[0])) == set(COMMANDS), "say in COMMANDS what it needs"


async def _refused(socket: Any, kind: type, conversation: str, turn: str = "t") -> Any:
    """What the command is answered with, if anything: a ping after it bounds the wait."""
    more = {key: turn if value == "TURN" else value for key, value in (COMMANDS[kind] or {}).items()}
    await socket.send_json({"type": kind.model_fields["type"].default, "conversation": conversation, **more})
    await socket.send_json({"type": "ping"})
    answer = None
    while (frame := await socket.receive_json(timeout=20))["type"] != "pong":
        answer = frame if frame["type"] == "refused" else answer
    return answer


async def test_every_command_about_anns_conversation_is_to_bob_as_if_it_were_not_there(here: Team, scene: Scene) -> None:
    socket = await scene.bob.socket()
    for kind, more in COMMANDS.items():
        if more is None:
            continue
        refused = await _refused(socket, kind, scene.conversation)
        unknown = await _refused(socket, kind, new_id())
        assert refused["reason"] == "unknown_conversation", kind
        assert (refused["words"], refused["turn"]) == (unknown["words"], unknown["turn"])
    assert (await scene.ann.ok("GET", f"/api/conversations/{scene.conversation}"))["events"] == []


async def test_bob_neither_stops_nor_hears_what_ann_runs(here: Team, scene: Scene, held: asyncio.Event) -> None:
    ann, bob = await scene.ann.socket(), await scene.bob.socket()
    page = await scene.ann.ok("GET", f"/api/conversations/{scene.conversation}")
    await ann.send_json({"type": "subscribe", "conversation": scene.conversation, "cursor": page["cursor"]})
    message = {"type": "message.send", "conversation": scene.conversation, "turn": "t", "text": "wait a moment"}
    await ann.send_json(message)
    while (await ann.receive_json(timeout=20)).get("event", {}).get("type") != "text.delta":
        pass
    assert (await _refused(bob, commands.StopTurn, scene.conversation))["reason"] == "unknown_conversation"
    assert (await _refused(bob, commands.SendMessage, scene.conversation))["reason"] == "unknown_conversation"
    assert (await _refused(bob, commands.SendMessage, scene.conversation, "u"))["reason"] == "unknown_conversation"
    held.set()
    frames: list[dict[str, Any]] = []
    while (frame := await ann.receive_json(timeout=20)).get("event", {}).get("type") != "turn.closed":
        frames.append(frame)
    assert frame["event"]["outcome"] == "answered"
    await bob.send_json({"type": "ping"})
    assert (await bob.receive_json(timeout=20))["type"] == "pong", "Bob has heard nothing, of the list either"


async def test_what_ann_deletes_and_bob_makes_is_bobs_alone(here: Team, scene: Scene) -> None:
    """Ids are made by clients: a connection that has asked once does not go on believing what it was told."""
    socket = await scene.ann.socket()
    assert await _refused(socket, commands.Subscribe, scene.conversation) is None
    await scene.ann.ok("DELETE", f"/api/conversations/{scene.conversation}")
    while (await socket.receive_json(timeout=20))["type"] != "conversation.removed":
        pass
    assert (await scene.bob.ask("PUT", f"/api/conversations/{scene.conversation}", {}))[0] == 404, "with Ann's files in it"
    await here.app.app.state.parts.store.removed(scene.conversation)  # as the executor's answer would say
    await scene.bob.ok("PUT", f"/api/conversations/{scene.conversation}", {"title": "Bob's own"})
    for kind, more in COMMANDS.items():
        if more is not None:
            assert (await _refused(socket, kind, scene.conversation))["reason"] == "unknown_conversation"
    assert (await scene.ann.ask("GET", f"/api/conversations/{scene.conversation}"))[0] == 404


async def test_a_list_is_told_to_its_owner_alone(here: Team, scene: Scene) -> None:
    ann, bob = await scene.ann.socket(), await scene.bob.socket()
    other = await scene.ann.socket()
    made = new_id()
    await scene.ann.ok("PUT", f"/api/conversations/{made}", {"title": "new"})
    for socket in (ann, other):
        frame = await socket.receive_json(timeout=20)
        assert (frame["type"], frame["summary"]["id"]) == ("conversation.changed", made)
    await bob.send_json({"type": "ping"})
    assert (await bob.receive_json(timeout=20))["type"] == "pong"


async def test_v1_answers_in_ones_own_conversation_and_bob_cannot_go_on_with_it(here: Team, scene: Scene) -> None:
    async def complete(person: Person, token: str, conversation: str | None) -> tuple[int, Any, Any]:
        body = {"model": "codeact", "messages": [{"role": "user", "content": "hi"}]}
        if conversation:
            body["metadata"] = {"conversation_id": conversation}  # type: ignore[assignment]
        return await scene.stranger.ask("POST", "/v1/chat/completions", body, headers={"Authorization": f"Bearer {token}"})

    anns, bobs = await scene.ann.token("chat"), await scene.bob.token("chat")
    status, answer, _ = await complete(scene.ann, anns, None)
    assert status == 200
    made = answer["codeact"]["conversation_id"]
    assert (await complete(scene.ann, anns, made))[0] == 200
    assert (await complete(scene.bob, bobs, made))[0] == 404
    assert made in str(await scene.ann.ok("GET", "/api/conversations"))
    assert made not in str(await scene.bob.ok("GET", "/api/conversations"))
