"""Which conversations a connection watches. One task each: a slow socket delays only itself."""

from __future__ import annotations

import asyncio
import contextlib

from fastapi import WebSocket, WebSocketDisconnect

from orchestrator.journal import channel, encode
from orchestrator.live.gathering import MAY_WAIT
from orchestrator.ports import Bus, TooOld
from orchestrator.protocol.frames import Reset, Subscribed

MAX_SUBSCRIPTIONS = 32
"""Per connection; the oldest is dropped. A page shows one conversation."""


PATIENT = frozenset(
    {b"turn.opened", b"step.opened", b"step.closed", b"cell.opened", b"cell.progress", b"cell.closed", b"kernel.changed"}
)
"""Events that say what the page shows already, or soon will: text, code, outputs and a turn's end do not wait for them."""


async def send_text(socket: WebSocket, frame: bytes, may_wait: bool = False) -> None:
    """One frame down. Waits while the socket's buffer is full. `may_wait`: it may go with the next, see gathering.py."""
    await socket.send({"type": "websocket.send", "text": frame.decode(), MAY_WAIT: may_wait})


def _may_wait(event: bytes) -> bool:
    """`event` begins with its type, as our own encoder writes it."""
    return event[9 : event.find(b'"', 9)] in PATIENT


class Subscriptions:
    """The conversations of one connection."""

    def __init__(self, socket: WebSocket, bus: Bus) -> None:
        self._socket = socket
        self._bus = bus
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def add(self, conversation: str, cursor: str) -> None:
        """Tell what follows `cursor`. Subscribing again starts over from the new cursor."""
        await self.remove(conversation)
        if len(self._tasks) >= MAX_SUBSCRIPTIONS:
            await self.remove(next(iter(self._tasks)))
        self._tasks[conversation] = asyncio.create_task(self._follow(conversation, cursor))

    async def remove(self, conversation: str) -> None:
        task = self._tasks.pop(conversation, None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def close(self) -> None:
        for conversation in list(self._tasks):
            await self.remove(conversation)

    async def _follow(self, conversation: str, cursor: str) -> None:
        opening = b'{"type":"told","conversation":"' + conversation.encode() + b'","cursor":"'
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, OSError):
            try:
                first = True
                async for batch in self._bus.follow(channel(conversation), cursor):
                    if first:
                        await send_text(self._socket, encode(Subscribed(conversation=conversation)))
                        first = False
                    for entry in batch:
                        frame = opening + entry.cursor.encode() + b'","event":' + entry.data + b"}"
                        await send_text(self._socket, frame, _may_wait(entry.data))
            except TooOld:
                await send_text(self._socket, encode(Reset(conversation=conversation)))
