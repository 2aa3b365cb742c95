"""A server with accounts and three people on it, one of whom has something that is nobody else's business."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.app import new_id
from tests.support.model_server import ScriptedModel
from tests.support.people import Person, Team, accounts_settings, team
from tests.support.postgres import Postgres
from tests.support.scripts import Reply

DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]

MARK = "zq-marker-7b1d9e"
"""In the title and the text of all that is Ann's."""


@dataclass
class Scene:
    """`admin` administers, Ann has a conversation with a turn in it, Bob has nothing, the stranger is not signed in."""

    here: Team
    admin: Person
    ann: Person
    bob: Person
    stranger: Person
    conversation: str = field(default_factory=new_id)
    theirs: frozenset[str] = frozenset()
    """What is Ann's: words and ids."""

    @property
    def url(self) -> str:
        return self.here.url

    async def begin(self) -> Scene:
        await self.ann.ok("PUT", f"/api/conversations/{self.conversation}", {"title": f"{MARK} title"})
        socket = await self.ann.socket()
        await self.watch(socket)
        await socket.send_json(
            {"type": "message.send", "conversation": self.conversation, "turn": "t", "text": f"{MARK} text"}
        )
        while (await socket.receive_json(timeout=20)).get("event", {}).get("type") != "turn.closed":
            pass
        await socket.close()
        await self.ann.token("chat")
        [token] = (await self.ann.ok("GET", "/api/auth/tokens"))["tokens"]
        [session] = (await self.ann.ok("GET", "/api/auth/sessions"))["sessions"]
        self.theirs = frozenset(
            {MARK, self.conversation, token["id"], session["id"], self.ann.secret(), await self.ann.id()}
        )
        return self

    async def watch(self, socket: Any) -> None:
        """Ann's websocket hears what happens in her conversation from now on."""
        page = await self.page()
        await socket.send_json({"type": "subscribe", "conversation": self.conversation, "cursor": page["cursor"]})
        while (await socket.receive_json(timeout=20))["type"] != "subscribed":
            pass

    async def page(self) -> Any:
        """Ann's conversation, as she sees it."""
        return await self.ann.ok("GET", f"/api/conversations/{self.conversation}")


@asynccontextmanager
async def a_scene(data: Path, **settings: Any) -> AsyncGenerator[Scene, None]:
    async with (
        ScriptedModel(lambda request: Reply("Hello.")) as model,
        team(accounts_settings(data, model.base_url, **settings)) as here,
    ):
        admin = await here.member("admin@example.org")
        ann, bob = await here.member("ann@example.org"), await here.member("bob@example.org")
        yield await Scene(here, admin, ann, bob, here.person("nobody@example.org")).begin()


def on(request: pytest.FixtureRequest, data: Path) -> AbstractAsyncContextManager[Scene]:
    """A scene on the database that a fixture with `params=DATABASES` is asked for."""
    if request.param == "sqlite":
        return a_scene(data)
    server: Postgres = request.getfixturevalue("postgres")
    return a_scene(data, database_url=server.database())
