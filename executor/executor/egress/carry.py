"""Bytes from one side to the other, counted, until it is over, nothing has moved for too long, or too much has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import NamedTuple

from executor.egress.account import Account

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


async def both(up: Coroutine[None, None, None], down: Coroutine[None, None, None]) -> None:
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


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: Callable[[int], None]) -> None:
    with suppress(OSError):  # a side that is gone has said all
        while data := await reader.read(CHUNK):
            count(len(data))
            writer.write(data)
            await writer.drain()
        writer.write_eof()
