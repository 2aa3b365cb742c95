"""The Bus inside one process: a bounded log per channel.

Cursors are `<life>-<n>`. `life` is random per process, so a cursor from before a restart is known to be too old. `n` counts
entries of *all* channels, so a channel that was dropped and comes back never reuses a number; `forgotten` remembers the
newest entry among all dropped ones, and a cursor at or after it has missed nothing.

Memory is bounded twice: each log by `channel_bytes`, and all together by `total_bytes`, for which the logs that were
written to least recently are emptied. A reader who needed what is gone gets `TooOld` and starts over from the store.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator

from orchestrator.ports import OLDEST, Entry, Part, TooOld

CHANNEL_BYTES = 16 * 2**20
TOTAL_BYTES = 256 * 2**20
OVERHEAD = 256
"""What Python needs for an entry besides its data, about: so that many tiny entries count as what they cost."""


class Log:
    """One channel: the newest entries, and whoever waits for more. `forgotten`: the newest entry not held any more."""

    __slots__ = ("entries", "followers", "forgotten", "last", "size", "told")

    def __init__(self, forgotten: int) -> None:
        self.entries: deque[tuple[int, Entry]] = deque()
        self.size = 0
        self.forgotten = forgotten
        self.last = forgotten
        self.followers = 0
        self.told = asyncio.Event()

    def add(self, n: int, entry: Entry) -> None:
        self.entries.append((n, entry))
        self.size += len(entry.data) + OVERHEAD
        self.last = n
        self.told.set()  # wakes whoever waits now, once: later entries find nobody waiting until those have read
        self.told.clear()

    def forget(self) -> int:
        """Let the oldest entry go; returns the bytes that frees."""
        self.forgotten, entry = self.entries.popleft()
        freed = len(entry.data) + OVERHEAD
        self.size -= freed
        return freed

    def after(self, n: int) -> list[Entry]:
        """What came after `n`, oldest first, in time proportional to its length. Raises `TooOld`."""
        if n < self.forgotten:
            raise TooOld
        batch: list[Entry] = []
        for number, entry in reversed(self.entries):
            if number <= n:
                break
            batch.append(entry)
        batch.reverse()
        return batch


class MemoryBus:
    """The Bus port for a single process. Not for threads: one event loop."""

    def __init__(self, channel_bytes: int = CHANNEL_BYTES, total_bytes: int = TOTAL_BYTES) -> None:
        self._life = secrets.token_hex(4)
        self._channel_bytes = channel_bytes
        self._total_bytes = total_bytes
        self._logs: OrderedDict[str, Log] = OrderedDict()  # least recently written first
        self._size = 0
        self._n = 0  # number of the newest entry of all channels
        self._forgotten = 0  # number of the newest entry among dropped channels

    async def publish(self, channel: str, data: bytes) -> str:
        self._n += 1
        entry = Entry(self._cursor(self._n), data)
        log = self._log(channel)
        log.add(self._n, entry)
        self._size += len(data) + OVERHEAD
        self._logs.move_to_end(channel)
        while log.size > self._channel_bytes and len(log.entries) > 1:
            self._size -= log.forget()
        if self._size > self._total_bytes:
            self._shrink(channel)
        return entry.cursor

    async def head(self, channel: str) -> str:
        log = self._logs.get(channel)
        return self._cursor(log.last if log is not None else self._n)

    async def follow(self, channel: str, cursor: str) -> AsyncGenerator[list[Entry], None]:
        if cursor == OLDEST:
            cursor = self._cursor(self._log(channel).forgotten)
        at = self._position(cursor)
        log = self._log(channel)
        log.followers += 1
        try:
            while True:
                batch, at = log.after(at), max(at, log.last)
                yield batch
                while log.last <= at:
                    await log.told.wait()
        finally:
            log.followers -= 1
            if not log.followers and not log.entries:
                self._drop(channel)

    async def reach(self) -> AsyncGenerator[bool, None]:
        yield True

    async def check(self) -> Part:
        return Part(name="bus", ok=True, words="")

    async def close(self) -> None:
        self._logs.clear()
        self._size = 0

    def _cursor(self, n: int) -> str:
        return f"{self._life}-{n}"

    def _position(self, cursor: str) -> int:
        life, _, n = cursor.partition("-")
        if life != self._life or not n.isdecimal() or int(n) > self._n:
            raise TooOld
        return int(n)

    def _log(self, channel: str) -> Log:
        log = self._logs.get(channel)
        if log is None:
            log = self._logs[channel] = Log(self._forgotten)
        return log

    def _shrink(self, keep: str) -> None:
        """Empty the logs written to least recently; those that nobody follows are dropped whole."""
        for channel in list(self._logs):
            if self._size <= self._total_bytes or channel == keep:
                return
            log = self._logs[channel]
            while log.entries:
                self._size -= log.forget()
            if not log.followers:
                self._drop(channel)

    def _drop(self, channel: str) -> None:
        log = self._logs.pop(channel, None)
        if log is not None:
            self._forgotten = max(self._forgotten, log.forgotten)
