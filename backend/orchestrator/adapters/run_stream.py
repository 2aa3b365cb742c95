"""One run at an executor service: its events as they come, and a way to hang up at any moment.

Hanging up stops the cell over there; it is the last means of stopping one that can no longer be told to stop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import aiohttp

MAX_LINE = 64 * 1024**2
T = TypeVar("T")


class HungUp(Exception):
    """The run was given up from this side; the message is why, for people."""


class Runs:
    """The runs that go on now, by conversation."""

    def __init__(self) -> None:
        self._lines: dict[str, set[asyncio.Future[str]]] = {}
        self._closing: str | None = None

    @contextmanager
    def open(self, conversation: str) -> Iterator[asyncio.Future[str]]:
        """A future that is done when the run is to be given up; its result is why, for people."""
        line: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        lines = self._lines.setdefault(conversation, set())
        lines.add(line)
        if self._closing is not None:
            line.set_result(self._closing)
        try:
            yield line
        finally:
            lines.discard(line)
            if not lines and self._lines.get(conversation) is lines:
                del self._lines[conversation]

    def hang_up(self, conversation: str, why: str) -> None:
        for line in self._lines.get(conversation, ()):
            if not line.done():
                line.set_result(why)

    def close(self, why: str) -> None:
        """All of them, and those that come later."""
        self._closing = why
        for conversation in self._lines:
            self.hang_up(conversation, why)


async def unless(line: asyncio.Future[str], work: Coroutine[Any, Any, T]) -> T:
    """What `work` comes to. Raises HungUp when the line is hung up first; `work` is cancelled then."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait((task, line), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise HungUp(line.result())
        return task.result()
    finally:
        task.cancel()


async def lines(content: aiohttp.StreamReader, line: asyncio.Future[str]) -> AsyncGenerator[bytes, None]:
    """Whole lines as they come. Raises HungUp, and aiohttp.ClientPayloadError for a line beyond MAX_LINE."""
    kept: list[bytes] = []
    size = 0
    while piece := await unless(line, content.readany()):
        *whole, rest = piece.split(b"\n")
        for one in whole:
            yield b"".join((*kept, one))
            kept.clear()
            size = 0
        kept.append(rest)
        size += len(rest)
        if size > MAX_LINE:
            raise aiohttp.ClientPayloadError("a line of the executor's answer is too long")
