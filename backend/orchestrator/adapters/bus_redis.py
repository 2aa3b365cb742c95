"""The Bus between processes: a Redis stream per channel.

A cursor is the id of an entry. It is good as long as its entry is retained, or the next one that names it; so it is too old
after trimming, after Redis was flushed, and after Redis came back without what it held. Delivery is at least once and in
order: readers lose nothing without `TooOld`.

No call waits for a Redis that is away: publishing is taken and sent later (redis_writer.py), readers wait
(redis_reader.py), and a head is a place after everything, which turns out to be good or too old once Redis is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Iterable
from typing import Any

from orchestrator.adapters.redis_entries import TELL, Item, after, of_rows, position
from orchestrator.adapters.redis_link import ANSWER_S, Link, Trouble, ended, refused
from orchestrator.adapters.redis_reader import Feed, Reader
from orchestrator.adapters.redis_writer import AGAIN_S, CHANNEL_BYTES, CHANNEL_ENTRIES, WAITING_BYTES, Writer
from orchestrator.errors import BadSetting
from orchestrator.ports import OLDEST, Entry, Part

log = logging.getLogger(__name__)

IDLE_S = 3600.0
"""A channel that nobody tells to or follows is gone after this: longer than any turn is silent."""
PAGE = 500
"""Entries read in one go."""
RETURN_S = 2.0
"""Where Redis has lost a channel, its publisher gets so long to put its place back before readers start over."""


class RedisBus:
    """The Bus port over one Redis. `create` makes one; it belongs to one event loop."""

    def __init__(self, link: Link, idle_s: float, channel_bytes: int, waiting_bytes: int) -> None:
        self._link = link
        self._prefix = f"codeact:bus:{link.database}:"  # Redis' own channels know no database
        self._idle_s = idle_s
        self._writer = Writer(link, self._prefix, idle_s, channel_bytes, waiting_bytes)
        self._reader = Reader(link, self._prefix, idle_s)
        self._listening = [asyncio.create_task(self._reader.run()), asyncio.create_task(self._reader.keep())]
        self._writing = asyncio.create_task(self._writer.run())

    async def publish(self, channel: str, data: bytes) -> str:
        return self._writer.publish(channel, data)

    async def head(self, channel: str) -> str:
        newest = self._writer.newest(channel)
        if newest is not None:
            return newest
        if self._link.up:
            with contextlib.suppress(*Trouble):
                async with asyncio.timeout(ANSWER_S):
                    return await self._head(channel)
        return self._writer.ids.next()

    async def follow(self, channel: str, cursor: str) -> AsyncGenerator[list[Entry], None]:
        held: list[Item] = []
        if cursor == OLDEST:
            held, cursor = await self._held(channel)
        else:
            position(cursor)
            await self._writer.sent(channel, cursor)
        with self._reader.following(channel) as feed:
            at, seen, first = cursor, -1, not held
            if held:
                yield _entries(held)
            while True:
                items = feed.after(at)
                waits = (items is None and feed.epoch == seen) or items == []  # nobody could have told anything since
                if items is None and not waits:
                    items, seen = await self._after(channel, feed, at, 0 if first else RETURN_S)
                if items:
                    at = items[-1].id
                batch = _entries(items or ())
                if batch or first:
                    first = False
                    yield batch
                elif waits:
                    await feed.told()

    def reach(self) -> AsyncGenerator[bool, None]:
        return self._link.reach()

    async def check(self) -> Part:
        words = self._link.words
        if not words:
            try:
                await self._link.asks.ping()
            except Trouble as error:
                words = self._link.words_for(error)
        return Part(name="bus", ok=not words, words=words)

    async def close(self) -> None:
        """What was published is sent first, if Redis takes it."""
        await self._writer.close(self._writing)
        await ended(self._listening)
        await self._link.close()

    # ---- inside --------------------------------------------------------------------------------------------------

    async def _head(self, channel: str) -> str:
        key = self._prefix + channel
        numbers = str(int(self._idle_s)), str(CHANNEL_ENTRIES)
        answer = await self._link.asks.eval(TELL, 1, key, key, *numbers, "", "", "", self._writer.ids.next())
        head: str = answer.decode()
        self._writer.seen(channel, head)
        return head

    async def _held(self, channel: str) -> tuple[list[Item], str]:
        """All that the stream holds, whatever is missing between, and the place after it; once Redis is there."""
        while True:
            await self._link.mended()
            try:
                rows: Any = await self._link.asks.xrange(self._prefix + channel)
                held = of_rows(rows)
                return held, held[-1].id if held else await self._head(channel)
            except Trouble:
                await asyncio.sleep(AGAIN_S)

    async def _after(self, channel: str, feed: Feed, at: str, patience_s: float) -> tuple[list[Item], int]:
        """What the stream holds after `at`, and the feed's epoch as of then, or -1 when there may be more. Waits while
        Redis is away, and for so long when it has lost the channel. Raises `TooOld`."""
        while True:
            await feed.subscribed.wait()  # from here on nothing is missed
            epoch = feed.epoch
            try:
                rows: Any = await self._link.asks.xrange(self._prefix + channel, min=at, count=PAGE)
            except Trouble:
                await asyncio.sleep(AGAIN_S)
                await self._link.mended()
                continue
            if not rows and patience_s:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(patience_s):
                        await feed.told()
                patience_s = 0
                continue
            items = after(of_rows(rows), at)
            if len(rows) == PAGE:
                return items, -1
            newest = items[-1].id if items else at
            if not feed.newest or position(feed.newest) < position(newest):
                feed.newest = newest
            return items, epoch


def _entries(items: Iterable[Item]) -> list[Entry]:
    return [Entry(item.id, item.data) for item in items if item.data is not None]


async def create(
    url: str, *, idle_s: float = IDLE_S, channel_bytes: int = CHANNEL_BYTES, waiting_bytes: int = WAITING_BYTES
) -> RedisBus:
    """Raises BadSetting for an address that is none or a wrong password; a Redis that is away is waited for later."""
    link = Link(url)
    try:
        await link.asks.ping()
    except Trouble as error:
        if refused(error):
            await link.close()
            raise BadSetting(link.words_for(error)) from None
        link.failed("listening", error)
        log.warning("%s", link.words)
    bus = RedisBus(link, idle_s, channel_bytes, waiting_bytes)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ANSWER_S):
            await link.mended()
    return bus
