"""What one sandbox has used of its way out, and what it may: bytes, requests a second. And what all have, for metrics."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

from executor.egress import refusal
from executor.egress.refusal import Verdict


@dataclass(frozen=True, slots=True)
class Caps:
    """Limits of one sandbox's way out. Bytes and seconds."""

    head: int = 16 * 1024  # of a request, and of an answer to a plain one
    head_s: float = 10.0  # from connecting to the end of the request's head
    idle_s: float = 120.0  # without a byte in either direction
    connections: int = 32  # at a time; more wait to be accepted
    total: int = 4 * 1024**3  # both ways, in the sandbox's life (of this executor's)
    requests: int = 200  # at once; after that so many …
    per_second: float = 20.0


@dataclass(slots=True)
class Counters:
    """Of all sandboxes together; they only grow."""

    verdicts: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(Verdict, 0)))
    bytes_up: int = 0
    bytes_down: int = 0

    def count(self, verdict: Verdict, up: int, down: int) -> None:
        self.verdicts[verdict] += 1
        self.bytes_up += up
        self.bytes_down += down


@dataclass(slots=True)
class Account:
    """One sandbox's. Asking too fast is not refused but slowed down: it would fill the log as well."""

    caps: Caps
    moved: int = 0
    _tokens: float = field(init=False)
    _at: float = field(init=False)

    def __post_init__(self) -> None:
        self._tokens, self._at = float(self.caps.requests), time.monotonic()

    def move(self, size: int) -> None:
        """Raises Refusal when that is too much."""
        self.moved += size
        self.check()

    def check(self) -> None:
        if self.moved > self.caps.total:
            raise refusal.used_up(self.caps.total)

    async def turn(self) -> None:
        """Until one more request may be looked at."""
        now = time.monotonic()
        self._tokens = min(float(self.caps.requests), self._tokens + (now - self._at) * self.caps.per_second)
        self._at = now
        self._tokens -= 1.0
        if self._tokens < 0:
            await asyncio.sleep(-self._tokens / self.caps.per_second)
