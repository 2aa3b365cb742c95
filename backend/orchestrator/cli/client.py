"""What a browser tab does, for the terminal: the page over HTTP, then the websocket."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import aiohttp
import orjson
from pydantic import TypeAdapter, ValidationError

from orchestrator.protocol import PROTOCOL_VERSION
from orchestrator.protocol.events import CellOutput, CodeDelta, Event, Live, TextDelta
from orchestrator.protocol.outputs import Put
from orchestrator.protocol.page import ConversationPage

_EVENT: TypeAdapter[Event] = TypeAdapter(Event)

RECONNECT_S = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)
"""Waits between tries after a lost connection; then we give up."""
HTTP_S = 10.0


class Trouble(Exception):
    """Cannot go on; the words name the cause and the next step."""


class Stranger(Trouble):
    """The server does not know us, or not any more."""


class Lost(Exception):
    """The connection went away, or has to be made anew; the turn goes on without us."""


def new_id() -> str:
    return uuid.uuid4().hex


class Client:
    """One conversation on one server. `cursor` is how far it was followed."""

    def __init__(self, url: str, token: str, conversation: str | None) -> None:
        self.url = url.rstrip("/")
        self._new = conversation is None
        self.conversation = conversation or new_id()
        self.cursor = ""
        self._token = token
        self._http: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None

    async def open(self) -> None:
        """Reach the server and the conversation, which is made if it is new. Raises `Trouble`."""
        self._http = aiohttp.ClientSession(headers={"Authorization": f"Bearer {self._token}"})
        if self._new:
            await self._request("PUT")
        await self.load()

    async def load(self) -> ConversationPage:
        """The conversation as it is; following goes on from there."""
        try:
            page = ConversationPage.model_validate_json(await self._request("GET"))
        except ValidationError as error:
            raise Trouble("The server speaks another version of CodeAct. Update this command, or the server.") from error
        self.cursor = page.cursor
        return page

    async def close(self) -> None:
        await self._hang_up()
        if self._http is not None:
            await self._http.close()

    async def ask(self, turn: str, text: str | None) -> AsyncGenerator[Event, None]:
        """Open a turn (None: go on where the last one ended) and yield what happens in it until it has closed, across
        lost connections: events may come twice, or only as what is known in the end. Raises `Trouble`."""
        command = {"type": "message.send", "conversation": self.conversation, "turn": turn, "text": text}
        if text is None:
            command = {"type": "turn.continue", "conversation": self.conversation, "turn": turn}
        for wait in (*RECONNECT_S, None):
            try:
                async with aclosing(self._follow(command)) as events:
                    async for event in events:
                        if getattr(event, "turn", None) == turn:
                            yield event
                            if event.type == "turn.closed":
                                return
            except Lost:
                await self._hang_up()
            if wait is None:
                raise Trouble(f"The connection to {self.url} was lost. The answer goes on there; look with --conversation.")
            await asyncio.sleep(wait)
            try:
                async for event in self._catch_up():
                    if getattr(event, "turn", None) == turn:
                        yield event
                        if event.type == "turn.closed":
                            return
            except Stranger:
                raise
            except Trouble:  # not there yet: another try
                continue

    async def stop(self, turn: str) -> None:
        with contextlib.suppress(Lost):
            await self._send({"type": "turn.stop", "conversation": self.conversation, "turn": turn})

    async def _follow(self, command: dict[str, Any]) -> AsyncGenerator[Event, None]:
        """Send the command (harmless when it was heard before) and yield what is told."""
        await self._connect()
        await self._send({"type": "subscribe", "conversation": self.conversation, "cursor": self.cursor})
        await self._send(command)
        while True:
            frame = await self._frame()
            match frame["type"]:
                case "told" if frame["conversation"] == self.conversation:
                    self.cursor = frame["cursor"]
                    yield _EVENT.validate_python(frame["event"])
                case "refused" if frame["turn"] == command["turn"]:
                    raise Trouble(frame["words"])
                case "reset":
                    raise Lost
                case "conversation.removed" if frame["conversation"] == self.conversation:
                    raise Trouble("The conversation was deleted.")

    async def _catch_up(self) -> AsyncGenerator[Event, None]:
        """Everything the page knows, as events."""
        page = await self.load()
        for event in page.events:
            yield event
        if page.live is not None:
            for live in _events_of(page.live):
                yield live

    async def _connect(self) -> None:
        if self._socket is not None and not self._socket.closed:
            return
        assert self._http is not None
        try:
            self._socket = await self._http.ws_connect(f"{self.url}/ws", max_msg_size=0, heartbeat=20)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Lost from error
        hello = await self._frame()
        if hello.get("protocol") != PROTOCOL_VERSION:
            raise Trouble("The server speaks another version of CodeAct. Update this command, or the server.")

    async def _hang_up(self) -> None:
        if self._socket is not None:
            await self._socket.close()
            self._socket = None

    async def _send(self, command: dict[str, Any]) -> None:
        if self._socket is None:
            raise Lost
        try:
            await self._socket.send_str(orjson.dumps(command).decode())
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            raise Lost from error

    async def _frame(self) -> dict[str, Any]:
        assert self._socket is not None
        message = await self._socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise Lost
        frame: dict[str, Any] = orjson.loads(message.data)
        return frame

    async def _request(self, method: str) -> bytes:
        assert self._http is not None
        address = f"{self.url}/api/conversations/{self.conversation}"
        try:
            async with self._http.request(method, address, timeout=aiohttp.ClientTimeout(total=HTTP_S)) as answer:
                body = await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            words = (
                f"No CodeAct server answers at {self.url}. Start one with `make run` (or `codeact serve`), then try again."
            )
            raise Trouble(words) from error
        if answer.status in (401, 403):
            raise Stranger(_why(answer.status, body, self.url))
        if answer.status != 200:
            raise Trouble(_why(answer.status, body, self.url))
        return body


def _events_of(live: Live) -> list[Event]:
    """What was being written or put out, as the events that led there."""
    events: list[Event] = []
    if live.prose:
        events.append(TextDelta(turn=live.turn, step=live.step, offset=0, text=live.prose))
    if live.cell is not None and live.code is not None:
        events.append(CodeDelta(turn=live.turn, step=live.step, cell=live.cell, offset=0, text=live.code))
    if live.cell is not None and live.outputs:
        ops = [Put(index=index, output=output) for index, output in enumerate(live.outputs)]
        events.append(CellOutput(turn=live.turn, cell=live.cell, n=live.n - 1, ops=list(ops)))
    return events


def _why(status: int, body: bytes, url: str) -> str:
    if status == 401:
        return (
            f"The server at {url} has accounts, and does not know us. Make a token on its page, in your account's settings,"
            " and set CODEACT_TOKEN to it."
        )
    if status == 403 and b"token" in body:
        return str(orjson.loads(body)["detail"])
    if status == 403:
        return (
            f"The server at {url} does not know us: it keeps its session in another data directory."
            " Set CODEACT_DATA_DIR to the one that it uses."
        )
    if status == 404:
        return "There is no such conversation on this server."
    try:
        return str(orjson.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return f"{url} answered with HTTP status {status}: is it a CodeAct server?"
