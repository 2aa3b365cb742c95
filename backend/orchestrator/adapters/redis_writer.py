"""Publishing: taken at once, sent in batches by one task over one connection, in order.

While Redis is away entries wait, within bounds. Past them the waiting ones of a channel are given up, and the chain is
broken there, so that its readers start over from the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from redis.asyncio.connection import AbstractConnection

from orchestrator.adapters.redis_entries import AT_ONCE, TELL, TOUCH, Ids, position
from orchestrator.adapters.redis_link import Link, asked, ended

CHANNEL_BYTES = 4 * 2**20
"""Kept of one channel in Redis, about; and at most so much waits here for it."""
WAITING_BYTES = 64 * 2**20
CHANNEL_ENTRIES = 20_000
OVERHEAD = 64
"""What Redis needs for an entry besides its data, about."""
MARKS = 64
"""Places per channel, evenly spread over its bytes, at which it can be trimmed."""
BATCH = 500
"""Entries of one channel in one go, and channels in one write: Redis serves others in between."""
WINDOW_S = 0.004
"""Between two writes; the first after a pause goes at once."""
KEEP_S = 5.0
"""How often channels that were told to are looked after."""
CHANNELS = 5_000
"""Channels remembered here; those told to least recently are forgotten."""
AGAIN_S = 0.25
LEAVING_S = 2.0

Entries = list[tuple[str, bytes]]


@dataclass(slots=True)
class Told:
    """What this process knows of a channel that it tells to. `place`: the newest id that Redis has taken."""

    place: str = ""
    waiting: Entries = field(default_factory=list)
    size: int = 0
    broken: bool = False
    sending: Entries = field(default_factory=list)
    sending_broken: bool = False
    marks: deque[tuple[str, int]] = field(default_factory=deque)  # ids, and the bytes told from there on to the next
    at: float = 0.0

    @property
    def open(self) -> bool:
        return bool(self.waiting or self.sending)

    def measure(self, limit: int) -> str:
        """Count what is being sent; the id before which the channel can be trimmed, or ''."""
        oldest = ""
        for id, data in self.sending:
            if not self.marks or self.marks[-1][1] >= limit // MARKS:
                self.marks.append((id, 0))
            mark, size = self.marks[-1]
            self.marks[-1] = mark, size + len(data) + OVERHEAD
        total = sum(size for _, size in self.marks)
        while len(self.marks) > 1 and total > limit:
            total -= self.marks.popleft()[1]
            oldest = self.marks[0][0]
        return oldest


class Writer:
    """`keep_s`: how long a channel outlives what was told last on it."""

    def __init__(self, link: Link, prefix: str, keep_s: float, channel_bytes: int, waiting_bytes: int) -> None:
        self.ids = Ids()
        self._link = link
        self._prefix = prefix
        self._keep_s = keep_s
        self._channel_bytes = channel_bytes
        self._waiting_bytes = waiting_bytes
        self._channels: OrderedDict[str, Told] = OrderedDict()  # told to least recently first
        self._ready: OrderedDict[str, Told] = OrderedDict()  # those with something to send
        self._size = 0
        self._wake = asyncio.Event()
        self._sent = asyncio.Event()
        self._written_at = 0.0
        self._looks = False
        link.on_return = self._look

    def publish(self, channel: str, data: bytes) -> str:
        """Take an entry; returns the id it will have."""
        id = self.ids.next()
        told = self._channels.get(channel)
        if told is None:
            told = self._channels[channel] = Told()
            self._trim()
        self._channels.move_to_end(channel)
        size = len(data) + OVERHEAD
        if told.size + size > self._channel_bytes and told.waiting:
            self._give_up(told)
        if self._size + size > self._waiting_bytes:
            for other in self._ready.values():
                self._give_up(other)
        told.waiting.append((id, data))
        told.size += size
        told.at = time.monotonic()
        self._size += size
        self._ready[channel] = told
        self._wake.set()
        return id

    def newest(self, channel: str) -> str | None:
        """The id of the newest entry that is still on its way."""
        told = self._channels.get(channel)
        if told is None or not told.open:
            return None
        return (told.waiting or told.sending)[-1][0]

    def seen(self, channel: str, id: str) -> None:
        """Somebody asked for the channel's head: whoever starts there has missed nothing."""
        self.ids.seen(id)
        told = self._channels.get(channel)
        if told is not None and not told.open and (not told.place or position(told.place) < position(id)):
            told.place = id

    async def sent(self, channel: str, cursor: str) -> None:
        """Until an entry that is on its way has arrived, or was given up."""
        told = self._channels.get(channel)
        while told is not None and told.open and (not told.place or position(told.place) < position(cursor)):
            await self._sent.wait()

    async def run(self) -> None:
        while True:
            try:
                async with self._link.connection() as connection:
                    await self._serve(connection)
            except Exception as error:
                self._link.failed("writing", error)
                await asyncio.sleep(AGAIN_S)

    async def close(self, task: asyncio.Task[None]) -> None:
        """Let go what waits, if Redis takes it soon."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVING_S):
                while self._ready and self._link.up:
                    await self._sent.wait()
        await ended([task])

    # ---- inside --------------------------------------------------------------------------------------------------

    async def _serve(self, connection: AbstractConnection) -> None:
        await self._look_after(connection)
        self._link.well("writing")
        while True:
            while self._ready:
                await self._pause()
                await self._write(connection, list(self._ready.items())[:BATCH])
            self._wake.clear()
            if not self._looks:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(KEEP_S):
                        await self._wake.wait()
            if self._looks or not self._wake.is_set():
                await self._look_after(connection)

    def _look(self) -> None:
        self._looks = True
        self._wake.set()

    async def _pause(self) -> None:
        rest = self._written_at + WINDOW_S - time.monotonic()
        if rest > 0:
            await asyncio.sleep(rest)
        self._written_at = time.monotonic()

    async def _write(self, connection: AbstractConnection, batch: Sequence[tuple[str, Told]]) -> None:
        """What waits becomes what is being sent, and stays that until Redis has said so: it may be sent again as it is."""
        commands = []
        for channel, told in batch:
            if not told.sending:
                told.sending, told.waiting = told.waiting[:BATCH], told.waiting[BATCH:]
                told.sending_broken, told.broken = told.broken, False
                size = sum(len(data) + OVERHEAD for _, data in told.sending)
                told.size -= size
                self._size -= size
            commands.append(self._command(channel, told, told.sending, told.measure(self._channel_bytes)))
        for (channel, told), place in zip(batch, await asked(connection, commands), strict=True):
            told.place, told.sending = place.decode(), []
            self.ids.seen(told.place)
            if not told.waiting:
                self._ready.pop(channel, None)
        self._tell_sent()

    async def _look_after(self, connection: AbstractConnection) -> None:
        """Channels that Redis has lost get a marker at the place where they were: whoever was there stays there."""
        self._looks = False
        now = time.monotonic()
        known = [
            (channel, told) for channel, told in self._channels.items() if told.place and now - told.at < self._keep_s / 2
        ]
        for i in range(0, len(known), AT_ONCE):
            part = known[i : i + AT_ONCE]
            keys = [self._prefix + channel for channel, _ in part]
            (last,) = await asked(connection, [("EVAL", TOUCH, str(len(keys)), *keys, "")])
            lost = [one for one, id in zip(part, last, strict=True) if id.decode() != one[1].place]
            places = await asked(connection, [self._command(channel, told, (), "") for channel, told in lost])
            for (_, told), place in zip(lost, places, strict=True):
                told.place = place.decode() or told.place

    def _command(
        self, channel: str, told: Told, entries: Sequence[tuple[str, bytes]], oldest: str
    ) -> tuple[str | bytes, ...]:
        key = self._prefix + channel
        broken = "1" if entries and told.sending_broken else ""
        head = ("EVAL", TELL, "1", key, key, str(int(self._keep_s)), str(CHANNEL_ENTRIES), oldest, told.place, broken)
        return (*head, self.ids.next(), *(part for entry in entries for part in entry))

    def _give_up(self, told: Told) -> None:
        self._size -= told.size
        told.waiting, told.size, told.broken = [], 0, True

    def _trim(self) -> None:
        for channel in list(self._channels):
            if len(self._channels) <= CHANNELS:
                return
            if not self._channels[channel].open:
                del self._channels[channel]

    def _tell_sent(self) -> None:
        self._sent.set()  # wakes whoever waits now, once
        self._sent.clear()
