"""Bytes from one side to the other, counted, until it is over, nothing has moved for too long, or too much has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import NamedTuple

import h11

from executor.egress.account import Account
from executor.egress.refusal import unreachable
from executor.egress.wanted import Wanted, response_head

CHUNK = 64 * 1024


class Side(NamedTuple):
    """The sandbox, or the host it talks to."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Meter:
    """Bytes to the host (`up`) and from it (`down`) of one request. Every one puts off `clock`, which ends the request."""

    def __init__(self, account: Account, clock: asyncio.Timeout) -> None:
        self.up = self.down = 0
        self._account, self._clock = account, clock

    def count_up(self, size: int) -> None:
        self.up += size
        self._moved(size)

    def count_down(self, size: int) -> None:
        self.down += size
        self._moved(size)

    def _moved(self, size: int) -> None:
        self._account.move(size)
        self._clock.reschedule(asyncio.get_running_loop().time() + self._account.caps.idle_s)


async def tunnel(early: bytes, sandbox: Side, host: Side, meter: Meter) -> None:
    """`early` has been read from the sandbox already. Raises Refusal when the sandbox has used up what it may move."""
    if early:
        meter.count_up(len(early))
        host.writer.write(early)
    up = _copy(sandbox.reader, host.writer, meter.count_up)
    await _both(up, _copy(host.reader, sandbox.writer, meter.count_down))


async def _both(up: Coroutine[None, None, None], down: Coroutine[None, None, None]) -> None:
    """Until `down` is through: the host has said all. Either's failure ends both."""
    ups, downs = asyncio.create_task(up), asyncio.create_task(down)
    try:
        await asyncio.wait({ups, downs}, return_when=asyncio.FIRST_COMPLETED)
        if ups.done():
            ups.result()
        await downs
    finally:
        ups.cancel()
        downs.cancel()
        await asyncio.gather(ups, downs, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: Callable[[int], None]) -> None:
    with suppress(OSError):  # a side that is gone has said all
        while data := await reader.read(CHUNK):
            count(len(data))
            writer.write(data)
            await writer.drain()
        writer.write_eof()


class Exchange:
    """One request without TLS, and its answer. `http` has read the request's head from the sandbox."""

    def __init__(self, http: h11.Connection, wanted: Wanted, sandbox: Side, host: Side, meter: Meter) -> None:
        self._http, self._wanted, self._sandbox, self._host, self._meter = http, wanted, sandbox, host, meter
        self._upstream = h11.Connection(h11.CLIENT, max_incomplete_event_size=CHUNK)

    async def run(self) -> None:
        """Raises Refusal, and h11.ProtocolError once an answer has begun."""
        await _both(self._request(), self._answer())

    async def _request(self) -> None:
        assert self._wanted.plain is not None
        with suppress(ConnectionError):  # a host that hangs up early may have answered before
            await self._send(self._wanted.plain)
            if self._http.they_are_waiting_for_100_continue:
                await self._say(h11.InformationalResponse(status_code=100, headers=[]))
            while isinstance(event := await next_event(self._http, self._sandbox.reader), h11.Data):
                await self._send(h11.Data(data=event.data))
            if isinstance(event, h11.EndOfMessage):
                await self._send(h11.EndOfMessage())

    async def _answer(self) -> None:
        name = self._wanted.host.name
        try:
            while isinstance(event := await self._heard(), h11.InformationalResponse):
                pass
        except (h11.RemoteProtocolError, ConnectionError):
            raise unreachable(name, "its answer is no HTTP") from None
        if not isinstance(event, h11.Response):
            raise unreachable(name, "it hung up without an answer")
        await self._say(response_head(event))
        while isinstance(event := await self._heard(), h11.Data):
            await self._say(h11.Data(data=event.data))
        await self._say(h11.EndOfMessage())

    async def _send(self, event: h11.Event) -> None:
        data = self._upstream.send(event) or b""
        self._meter.count_up(len(data))
        self._host.writer.write(data)
        await self._host.writer.drain()

    async def _heard(self) -> object:
        return await next_event(self._upstream, self._host.reader, self._meter.count_down)

    async def _say(self, event: h11.Event) -> None:
        self._sandbox.writer.write(self._http.send(event) or b"")
        await self._sandbox.writer.drain()


async def next_event(
    http: h11.Connection, reader: asyncio.StreamReader, count: Callable[[int], None] = lambda size: None
) -> object:
    """The next thing said by the peer of `http`. Raises h11.RemoteProtocolError."""
    while (event := http.next_event()) is h11.NEED_DATA:
        data = await reader.read(CHUNK)
        count(len(data))
        http.receive_data(data)
    return event
