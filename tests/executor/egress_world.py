"""A small world for the egress proxy's tests: names, a host on loopback that keeps what it is sent, and a way to ask."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from executor.egress.account import Caps
from executor.egress.beside import Beside
from executor.egress.door import Door, Egress
from executor.egress.rules import Rules, entries

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Names:
    """A resolver whose answers are given: one list of addresses per question, the last one from then on."""

    answers: dict[str, list[list[str]]]
    asked: list[str] = field(default_factory=list)

    async def __call__(self, name: str) -> list[str]:
        self.asked.append(name)
        if name not in self.answers:
            raise OSError(f"no such name: {name}")
        left = self.answers[name]
        return left.pop(0) if len(left) > 1 else left[0]


@dataclass
class Host:
    """A TCP server on loopback. `heard` is what each connection has sent so far."""

    port: int
    heard: list[bytearray] = field(default_factory=list)


@contextlib.asynccontextmanager
async def listening(serve: Serve, address: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Host]:
    """`serve` reads from a reader that also fills `heard`."""
    host, tasks = Host(port), set()

    async def visit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(task := asyncio.current_task())
        heard = bytearray()
        host.heard.append(heard)
        feed = reader.feed_data
        heard += reader._buffer
        reader.feed_data = lambda data: (heard.extend(data), feed(data))[1]
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await serve(reader, writer)
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(visit, address, port)
    host.port = server.sockets[0].getsockname()[1]
    try:
        yield host
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


def answering(answer: bytes) -> Serve:
    """Reads one request's head and whatever body it announces, and says `answer`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if b"content-length:" in head:
            await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0]))
        elif b"chunked" in head:
            await reader.readuntil(b"0\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    return serve


@contextlib.asynccontextmanager
async def door(
    directory: Path, names: Names, allow: str, private: str = "*.test", caps: Caps | None = None
) -> AsyncIterator[tuple[Egress, Door]]:
    """An open door at `<directory>/egress/one/proxy.sock`."""
    egress = Egress(Rules(entries(allow), entries(private)), names, Beside({"pip.conf": b"[global]\n"}), caps)
    made = await egress.open("one", directory / "egress" / "one" / "proxy.sock")
    made.of.conversation = "talk"
    try:
        yield egress, made
    finally:
        await egress.close()


async def dial(made: Door) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_unix_connection(str(made.path))


async def ask(made: Door, request: bytes) -> bytes:
    """All that is answered before the proxy hangs up."""
    reader, writer = await dial(made)
    said = asyncio.create_task(say(writer, request))
    try:
        async with asyncio.timeout(30):
            return await reader.read(-1)
    finally:
        said.cancel()
        writer.close()


async def say(writer: asyncio.StreamWriter, request: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        writer.write(request)
        await writer.drain()


def status(answer: bytes) -> int:
    assert answer.startswith(b"HTTP/1.1 "), answer
    return int(answer.split(b" ")[1])
