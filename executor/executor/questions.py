"""The questions that one cell asks (`input`, `getpass`): told, answered once or refused, and never open without end.

A question comes from a process that may ask anything at any time and in any number, so what it costs is bounded: a cell
may ask MOST times, wait ASK_S for one reply and TOTAL_S for all of them. Waiting does not count towards the cell's time
limit, because people are slower than code; that is what the bounds are for.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from executor.jupyter import Message
from executor.outbox import Outbox
from executor.wire import Asked

ASK_S = 300.0
TOTAL_S = 900.0
MOST = 100
PROMPT = 2000  # characters
TICK_S = 0.05
INSTEAD = "Put the value in the code, or read it from a file in the workspace."
NOBODY = f"Nobody answered in time. {INSTEAD}"
TOO_MUCH = f"This code has asked too often or waited too long. {INSTEAD}"

Send = Callable[[str, dict[str, Any]], object]
"""Sends the content of a reply to the request with an id."""


@dataclass(frozen=True, slots=True)
class _Open:
    id: str
    request: str
    since: float
    timer: asyncio.TimerHandle


class Questions:
    """`outbox` is told of them. Without `begin` nothing is heard."""

    def __init__(self, outbox: Outbox, clock: Callable[[], float] = time.monotonic) -> None:
        self._outbox = outbox
        self._clock = clock
        self._send: Send | None = None
        self._open: _Open | None = None
        self._count = 0
        self._waited = 0.0

    def begin(self, send: Send) -> None:
        self._send = send

    def end(self) -> None:
        """The cell is over: nobody waits for a reply any more."""
        self._send = None
        self._finish()

    def waited(self) -> float:
        """Seconds spent waiting for replies so far."""
        return self._waited + (self._clock() - self._open.since if self._open is not None else 0.0)

    def heard(self, message: Message) -> None:
        """Something came on the stdin channel from the cell. A new question takes the place of one that is open, which
        the code has broken off."""
        if self._send is None or message.kind != "input_request" or not message.id or self._count >= 2 * MOST:
            return
        self._count += 1
        self._finish()
        left = min(ASK_S, TOTAL_S - self._waited)
        if self._count > MOST or left <= 0:
            self._send(message.id, _refusal(TOO_MUCH))
            return
        prompt = message.content.get("prompt")
        timer = asyncio.get_running_loop().call_later(left, self._expire)
        self._open = _Open(secrets.token_hex(8), message.id, self._clock(), timer)
        asked = prompt[:PROMPT] if isinstance(prompt, str) else ""
        self._outbox.put(Asked(id=self._open.id, prompt=asked, password=message.content.get("password") is True))

    def reply(self, id: str, text: str) -> bool:
        """Hand over a reply; False when the question `id` is not open."""
        if self._open is None or self._send is None or self._open.id != id:
            return False
        self._send(self._open.request, {"status": "ok", "value": text.encode("utf-8", "replace").decode()})
        self._finish()
        return True

    def _expire(self) -> None:
        if self._open is not None and self._send is not None:
            self._send(self._open.request, _refusal(NOBODY))
        self._finish()

    def _finish(self) -> None:
        if self._open is not None:
            self._waited = self.waited()
            self._open.timer.cancel()
            self._open = None


def _refusal(words: str) -> dict[str, Any]:
    return {"status": "error", "evalue": words, "value": ""}


async def within(timeout_s: float, questions: Questions | None, *futures: asyncio.Future[Any]) -> None:
    """Until one of them is done, at most `timeout_s`; the time spent waiting for replies comes on top."""
    began, left = time.monotonic(), timeout_s
    while left > 0:
        done, _ = await asyncio.wait(futures, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if done or questions is None:
            return
        left = timeout_s + questions.waited() - (time.monotonic() - began)
        left = max(left, TICK_S) if left > 0 else 0.0
