"""Several frames, one write: what can wait a moment goes down with what cannot.

Every write is a system call here and a wake-up for the browser, and most events of a turn come a fraction of a millisecond
before text that is wanted at once. So a frame that is marked MAY_WAIT is held for at most PATIENCE_S; the next one that is
not marked takes it along. Order stays as it is.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

MAY_WAIT = "codeact.may_wait"
"""Key of an ASGI message `websocket.send`; servers that do not know it send at once."""

PATIENCE_S = 0.002
MOST_HELD = 64 * 1024  # bytes; more is not held


class Gathered(asyncio.Transport):
    """A transport whose writes are held while `patient`. Closing it lets go what is held."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self.patient = False
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._held: list[bytes] = []
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.patient and not self._held:
            self._transport.write(data)
            return
        self._held.append(bytes(data))
        self._size += len(data)
        if not self.patient or self._size > MOST_HELD:
            self._let_go()
        elif self._timer is None:
            self._timer = self._loop.call_later(PATIENCE_S, self._let_go)

    def _let_go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        held, self._held, self._size = self._held, [], 0
        if held and not self._transport.is_closing():
            self._transport.write(b"".join(held))

    def close(self) -> None:
        self._let_go()
        self._transport.close()

    def abort(self) -> None:
        self._held, self._size = [], 0
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def get_write_buffer_size(self) -> int:
        return self._size + self._transport.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)


class GatheringSocket(WebSocketsSansIOProtocol):
    """uvicorn's websocket, on such a transport."""

    transport: Gathered

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(Gathered(cast(asyncio.Transport, transport)))  # uvloop's own class is not derived from it

    async def send(self, message: Any) -> None:
        await self.writable.wait()  # so that nobody comes between the next two lines
        self.transport.patient = bool(message.get(MAY_WAIT))
        await super().send(message)
        self.transport.patient = False
