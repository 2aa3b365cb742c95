"""The whole orchestrator, served for real on a free loopback port, and a client that does what a browser does."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn
from fastapi import FastAPI
from pydantic import TypeAdapter

from orchestrator.main import create_app
from orchestrator.protocol import events as ev
from orchestrator.protocol.fold import apply, fold
from orchestrator.protocol.page import ConversationPage
from orchestrator.protocol.view import View
from orchestrator.settings import Settings

EVENT: TypeAdapter[ev.Event] = TypeAdapter(ev.Event)
WAIT_S = 30.0


def new_id() -> str:
    return uuid.uuid4().hex


class Tab:
    """One browser tab: a session cookie, a websocket, and the view of one conversation, folded from what is told."""

    def __init__(self, http: aiohttp.ClientSession, url: str, conversation: str) -> None:
        self.http = http
        self.url = url
        self.conversation = conversation
        self.view: View = fold([])
        self.cursor = ""
        self.events: list[ev.Event] = []
        self.frames: list[dict[str, Any]] = []
        self._socket: aiohttp.ClientWebSocketResponse | None = None

    @property
    def socket(self) -> aiohttp.ClientWebSocketResponse:
        assert self._socket is not None, "the tab is not connected"
        return self._socket

    async def load(self) -> ConversationPage:
        """What a page load does: the page, folded."""
        async with self.http.get(f"{self.url}/api/conversations/{self.conversation}") as answer:
            assert answer.status == 200, await answer.text()
            page = ConversationPage.model_validate_json(await answer.read())
        self.view, self.cursor = fold(page.events, page.live), page.cursor
        return page

    async def connect(self, cursor: str | None = None) -> None:
        """Open the websocket and go on from `cursor` (the last one known)."""
        self._socket = await self.http.ws_connect(f"{self.url}/ws", headers={"Origin": self.url}, max_msg_size=0)
        hello = await self.frame()
        assert hello["type"] == "hello"
        await self.command(type="subscribe", conversation=self.conversation, cursor=cursor or self.cursor)
        await self.until_frame(lambda frame: frame["type"] in ("subscribed", "reset"))

    async def drop(self) -> None:
        """Lose the connection as a network does."""
        if self._socket is not None:
            await self._socket.close()

    async def command(self, **fields: Any) -> None:
        await self.socket.send_str(json.dumps(fields))

    async def say(self, text: str, turn: str | None = None) -> str:
        turn = turn or new_id()
        await self.command(type="message.send", conversation=self.conversation, turn=turn, text=text)
        return turn

    async def ask(self, text: str) -> View:
        """Send a message and wait until it is answered."""
        turn = await self.say(text)
        await self.closed(turn)
        return self.view

    async def stop(self, turn: str) -> None:
        await self.command(type="turn.stop", conversation=self.conversation, turn=turn)

    async def closed(self, turn: str) -> ev.TurnClosed:
        event = await self.until(lambda event: event.type == "turn.closed" and event.turn == turn)
        assert isinstance(event, ev.TurnClosed)
        return event

    async def until(self, wanted: Callable[[Any], bool], timeout_s: float = WAIT_S) -> Any:
        """Read frames until an event is wanted; the event."""
        frame = await self.until_frame(
            lambda frame: frame["type"] == "told" and wanted(self.events[-1]), timeout_s=timeout_s
        )
        assert frame
        return self.events[-1]

    async def until_type(self, kind: str, timeout_s: float = WAIT_S) -> Any:
        return await self.until(lambda event: event.type == kind, timeout_s)

    async def until_frame(self, wanted: Callable[[dict[str, Any]], bool], timeout_s: float = WAIT_S) -> dict[str, Any]:
        async with asyncio.timeout(timeout_s):
            while True:
                frame = await self.frame()
                if wanted(frame):
                    return frame

    async def frame(self) -> dict[str, Any]:
        """The next frame, folded if it tells something of this conversation."""
        message = await self.socket.receive(timeout=WAIT_S)
        assert message.type is aiohttp.WSMsgType.TEXT, message
        frame: dict[str, Any] = json.loads(message.data)
        self.frames.append(frame)
        if frame["type"] == "told" and frame["conversation"] == self.conversation:
            event = EVENT.validate_python(frame["event"])
            self.events.append(event)
            self.view, self.cursor = apply(self.view, event), frame["cursor"]
        return frame


class App:
    """A running server. `app.state.parts` is what it is made of."""

    def __init__(self, app: FastAPI, url: str) -> None:
        self.app = app
        self.url = url
        self._sessions: list[aiohttp.ClientSession] = []

    async def browser(self) -> aiohttp.ClientSession:
        """A browser that has opened the page (and so has the session cookie)."""
        session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
        self._sessions.append(session)
        token = (self.app.state.settings.data_dir / "session.token").read_text()
        session.cookie_jar.update_cookies({"codeact_session": token})
        return session

    async def tab(self, conversation: str | None = None) -> Tab:
        """A tab on a conversation (a new one when None), loaded and connected."""
        http = await self.browser()
        tab = Tab(http, self.url, conversation or new_id())
        if conversation is None:
            async with http.put(f"{self.url}/api/conversations/{tab.conversation}", json={}) as answer:
                assert answer.status == 200, await answer.text()
        await tab.load()
        await tab.connect()
        return tab

    async def close(self) -> None:
        for session in self._sessions:
            await session.close()


@asynccontextmanager
async def serving(settings: Settings) -> AsyncGenerator[App, None]:
    """The app behind uvicorn, as `codeact serve` runs it, in this process."""
    fastapi = create_app(settings)
    config = uvicorn.Config(fastapi, host="127.0.0.1", port=0, ws="websockets-sansio", ws_per_message_deflate=False,
                            ws_max_size=1 << 20, proxy_headers=False, access_log=False, log_level="warning", lifespan="on",
                            timeout_graceful_shutdown=3)  # fmt: skip
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined,method-assign]  # not ours to take
    task = asyncio.create_task(server.serve())
    while not server.started:
        if task.done():
            task.result()
            raise RuntimeError("the server stopped while starting")
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    app = App(fastapi, f"http://127.0.0.1:{port}")
    try:
        yield app
    finally:
        await app.close()
        server.should_exit = True
        await task


def settings_for(data_dir: Path, model_url: str, **more: Any) -> Settings:
    """Settings of a test: nothing from the environment or a .env file matters but what is given here."""
    fields: dict[str, Any] = {"data_dir": data_dir, "model_url": model_url, "model_name": "scripted", **more}
    return Settings(_env_file=None, **fields)
