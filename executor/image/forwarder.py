"""The way out of a sandbox that may reach some hosts (profile `net`): 127.0.0.1:3128, where HTTP_PROXY points, is carried
byte by byte to the executor's egress proxy, over a Unix socket in a read-only directory. The rules are the proxy's; the
sandbox still has no interface but lo."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from pathlib import Path

DOOR = Path("/run/egress/proxy.sock")  # its directory as EGRESS in executor.sandbox.argv
PORT = 3128
MOST = 64  # connections at a time; the proxy serves fewer, and the gateway's descriptors are counted
CHUNK = 64 * 1024
AWAY = b"HTTP/1.1 502 The network of this sandbox is away for a moment\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


async def listen() -> None:
    """Forwards from now on, where the sandbox was granted a network; else does nothing."""
    if DOOR.parent.is_dir():
        places = asyncio.Semaphore(MOST)
        await asyncio.start_server(lambda reader, writer: _visit(places, reader, writer), "127.0.0.1", PORT)


async def _visit(places: asyncio.Semaphore, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        if places.locked():
            writer.transport.abort()
            return
        async with places:
            await _forward(reader, writer)
    writer.close()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    _at_once(writer)
    try:
        inner, outer = await asyncio.open_unix_connection(str(DOOR))
    except OSError:
        writer.write(AWAY)
        await writer.drain()
        return
    try:
        both = [asyncio.create_task(_copy(*way)) for way in ((reader, outer), (inner, writer))]
        await both[1]  # the proxy ends a connection, by itself or because the client is gone
        both[0].cancel()
        await asyncio.gather(*both, return_exceptions=True)
    finally:
        outer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


def _at_once(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
