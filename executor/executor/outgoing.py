"""What goes to a kernel: each message under an id of its own, sent without anybody waiting for that."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp

from executor import jupyter


class Outgoing:
    """Messages of one session. `broken` is called when there is no connection to send by; one that breaks while something
    is being sent shows to its reader."""

    def __init__(self, broken: Callable[[], None]) -> None:
        self.session_id = secrets.token_hex(8)
        self._broken = broken
        self._ws: aiohttp.ClientWebSocketResponse | None = None
        self._count = 0
        self._sending: set[asyncio.Task[None]] = set()

    def connect(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self._ws = ws

    def new_id(self) -> str:
        """An id that no code in the sandbox can foresee."""
        self._count += 1
        return f"{self.session_id}-{secrets.token_hex(6)}-{self._count}"

    def send(
        self, kind: str, content: dict[str, Any], channel: jupyter.Channel = "shell", parent: str = "", id: str = ""
    ) -> str:
        """The message's id; with `parent` it is a reply to that message."""
        id = id or self.new_id()
        if self._ws is None or self._ws.closed:
            self._broken()
        else:
            frame = jupyter.request(kind, content, id, self.session_id, channel, parent)
            self._start(self._ws.send_bytes(frame))
        return id

    def ping(self) -> None:
        if self._ws is not None and not self._ws.closed:
            self._start(self._ws.ping())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(_quietly(work))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)


async def _quietly(work: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(OSError, aiohttp.ClientError):
        await work
