"""Requests to a kernel that are no cells: each has a deadline, and of a kind at most one is under way.

A kernel that does not answer (a cell keeps the interpreter to itself, or its own code swallows requests) is not asked the
same again and again, so nothing piles up there: whoever asks meanwhile hears that it is busy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from executor.jupyter import Message
from executor.wire_services import Answer

STALE_S = 10.0  # without an answer, after which a request is taken for lost and may be made again

Send = Callable[[str, dict[str, Any]], str]
"""Sends a request of a kind with a content; returns its id."""


@dataclass(slots=True, eq=False)
class _Line:
    """Requests of one kind. `newest` is done when somebody newer has come."""

    id: str
    under_way: asyncio.Future[Message | None]
    since: float
    newest: asyncio.Future[None] | None = None


class Asking:
    """The requests to one kernel."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._lines: dict[str, _Line] = {}

    def heard(self, message: Message) -> None:
        """Something came on the control channel. Only the first answer to a request under way counts."""
        for line in self._lines.values():
            if line.id == message.parent and not line.under_way.done():
                line.under_way.set_result(message)

    def forget(self) -> None:
        """The kernel has ended, or is another one now: whoever waits is told."""
        for line in self._lines.values():
            if not line.under_way.done():
                line.under_way.set_result(None)

    async def together(self, kind: str, content: dict[str, Any], within_s: float) -> Message | Answer:
        """An answer for all who ask the same at the same time."""
        line = self._lines.get(kind)
        if line is None or self._over(line):
            line = self._ask(kind, content)
        return await _result(line, within_s)

    async def alone(self, kind: str, content: dict[str, Any], within_s: float) -> Message | Answer:
        """An answer, unless somebody asks for another one of this kind first: then that one counts."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + within_s
        newest = loop.create_future()
        line = self._lines.get(kind)
        if line is not None:
            _settle(line.newest)
            line.newest = newest
            if not self._over(line):
                await _first(within_s, line.under_way, newest)
                if newest.done():
                    return Answer.REPLACED
                if not self._over(line):
                    return Answer.BUSY
                if line.under_way.done() and line.under_way.result() is None:
                    return Answer.STARTING
        line = self._ask(kind, content)
        line.newest = newest
        return await _result(line, ends - loop.time(), newest)

    def _over(self, line: _Line) -> bool:
        return line.under_way.done() or asyncio.get_running_loop().time() - line.since > STALE_S

    def _ask(self, kind: str, content: dict[str, Any]) -> _Line:
        loop = asyncio.get_running_loop()
        line = _Line("", loop.create_future(), loop.time())
        self._lines[kind] = line
        line.id = self._send(kind, content)
        return line


async def _result(line: _Line, within_s: float, newest: asyncio.Future[None] | None = None) -> Message | Answer:
    await _first(within_s, line.under_way, *([newest] if newest is not None else []))
    if line.under_way.done():
        return line.under_way.result() or Answer.STARTING
    return Answer.REPLACED if newest is not None and newest.done() else Answer.BUSY


async def _first(within_s: float, *futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, timeout=max(within_s, 0.0), return_when=asyncio.FIRST_COMPLETED)


def _settle(future: asyncio.Future[None] | None) -> None:
    if future is not None and not future.done():
        future.set_result(None)
