"""One plain http request and its answer: read, framed anew, and passed on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import h11

from executor.egress.carry import CHUNK, Meter, Side, both
from executor.egress.refusal import unreachable
from executor.egress.wanted import Wanted, response_head


class Exchange:
    """One request without TLS, and its answer. `http` has read the request's head from the sandbox."""

    def __init__(self, http: h11.Connection, wanted: Wanted, sandbox: Side, host: Side, meter: Meter) -> None:
        self._http, self._wanted, self._sandbox, self._host, self._meter = http, wanted, sandbox, host, meter
        self._upstream = h11.Connection(h11.CLIENT, max_incomplete_event_size=CHUNK)

    async def run(self) -> None:
        """Raises Refusal, and h11.ProtocolError once an answer has begun."""
        await both(self._request(), self._answer())

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
