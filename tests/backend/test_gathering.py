"""Frames that may wait go with the next one that may not, in order, and are never lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from orchestrator.live import gathering
from orchestrator.live.gathering import MOST_HELD, Gathered


@asynccontextmanager
async def joined() -> AsyncIterator[tuple[Gathered, asyncio.StreamReader]]:
    """A gathering transport, and whoever reads at its other end."""
    made: asyncio.Future[Gathered] = asyncio.get_running_loop().create_future()

    class Accepting(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.set_result(Gathered(cast(asyncio.Transport, transport)))

    server = await asyncio.get_running_loop().create_server(Accepting, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
    try:
        async with asyncio.timeout(10):
            yield await made, reader
    finally:
        writer.close()
        server.close()


def say(transport: Gathered, data: bytes, patient: bool) -> None:
    transport.patient = patient
    transport.write(data)


async def test_what_may_wait_is_taken_along_in_order(monkeypatch):
    monkeypatch.setattr(gathering, "PATIENCE_S", 3600.0)
    async with joined() as (transport, reader):
        for data in (b"a", b"b"):
            say(transport, data, True)
        await asyncio.sleep(0.05)
        assert transport.get_write_buffer_size() == 2  # held, and counted as such
        say(transport, b"c", False)
        assert await reader.read(100) == b"abc"
        say(transport, b"d", False)
        assert await reader.read(100) == b"d"


async def test_what_nothing_follows_goes_by_itself():
    async with joined() as (transport, reader):
        for data in (b"a", b"b"):
            say(transport, data, True)
            await asyncio.sleep(0)
        assert await reader.read(100) == b"ab"
        say(transport, b"c", True)
        assert await reader.read(100) == b"c"


async def test_no_more_than_so_much_is_held(monkeypatch):
    monkeypatch.setattr(gathering, "PATIENCE_S", 3600.0)
    async with joined() as (transport, reader):
        for _ in range(3):
            say(transport, b"x" * (MOST_HELD // 2), True)
        assert len(await reader.readexactly(MOST_HELD // 2 * 3)) == MOST_HELD // 2 * 3


@pytest.mark.parametrize("ending", ["close", "abort"])
async def test_closing_lets_go_of_what_is_held_and_aborting_drops_it(monkeypatch, ending):
    monkeypatch.setattr(gathering, "PATIENCE_S", 0.05)
    async with joined() as (transport, reader):
        say(transport, b"last", True)
        getattr(transport, ending)()
        assert transport.is_closing()
        assert await reader.read() == (b"last" if ending == "close" else b"")
        await asyncio.sleep(0.1)  # a timer that were still running would write into what is closed
