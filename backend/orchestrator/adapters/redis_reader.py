"""Listening: one connection for all channels that this process follows, and what came lately on each.

Redis says each entry once to whoever listens. What a reader lacks, because it came later or is slower than that, is read
from the stream; the chain of entries says which.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager

from redis.asyncio.connection import AbstractConnection

from orchestrator.adapters.redis_entries import AT_ONCE, TOUCH, Item, of_message
from orchestrator.adapters.redis_link import ANSWER_S, Link, Trouble, ended

FEED_BYTES = 256 * 1024
"""Kept here of one channel; a slower reader reads the stream."""
OVERHEAD = 300
"""What Python needs for an entry besides its data, about."""
PING_S = 2.0
"""After so long a silence Redis is asked whether it is still there."""
KEEP_S = 5.0
"""How often followed channels are kept, and looked at for what was not heard."""
AGAIN_S = 0.25


class Feed:
    """A channel that somebody here follows. `epoch` changes when something was heard, or may have been missed."""

    __slots__ = ("_items", "_size", "_told", "epoch", "followers", "newest", "subscribed")

    def __init__(self) -> None:
        self.followers = 0
        self.epoch = 0
        self.newest = ""
        self.subscribed = asyncio.Event()
        self._items: deque[Item] = deque()
        self._size = 0
        self._told = asyncio.Event()

    def take(self, items: list[Item]) -> None:
        for item in items:
            self._items.append(item)
            self._size += len(item.data or b"") + OVERHEAD
            self.newest = item.id
        while self._size > FEED_BYTES and len(self._items) > len(items):
            self._size -= len(self._items.popleft().data or b"") + OVERHEAD
        self._tell()

    def after(self, at: str) -> list[Item] | None:
        """What came after `at`; None when that cannot be told from here."""
        later: list[Item] = []
        for item in reversed(self._items):
            if item.id == at:
                break
            later.append(item)
            if item.before == at:
                break
        else:
            return None
        later.reverse()
        places = [at, *(item.id for item in later)]
        return later if all(item.before == place for item, place in zip(later, places, strict=False)) else None

    def missed(self) -> None:
        """Something may not have been heard: what is here says nothing about what came later, so all look in the stream."""
        self._items.clear()
        self._size = 0
        self._tell()

    def _tell(self) -> None:
        self.epoch += 1
        self._told.set()  # wakes whoever waits now, once
        self._told.clear()

    async def told(self) -> None:
        """Until something comes, or may have been missed."""
        await self._told.wait()


class Reader:
    """Feeds by channel, filled by one connection."""

    def __init__(self, link: Link, prefix: str, keep_s: float) -> None:
        self._link = link
        self._prefix = prefix
        self._keep_s = keep_s
        self._feeds: dict[str, Feed] = {}
        self._changes: deque[tuple[str, str]] = deque()  # commands not sent yet
        self._changed = asyncio.Event()

    @contextmanager
    def following(self, channel: str) -> Iterator[Feed]:
        feed = self._feeds.get(channel)
        if feed is None:
            feed = self._feeds[channel] = Feed()
            self._change("SUBSCRIBE", channel)
        feed.followers += 1
        try:
            yield feed
        finally:
            feed.followers -= 1
            if not feed.followers:
                del self._feeds[channel]
                self._change("UNSUBSCRIBE", channel)

    async def run(self) -> None:
        while True:
            try:
                async with self._link.connection() as connection:
                    await self._serve(connection)
            except Exception as error:
                self._link.failed("listening", error)
                for feed in self._feeds.values():
                    feed.subscribed.clear()
                await asyncio.sleep(AGAIN_S)

    async def keep(self) -> None:
        """Channels that are followed do not expire; one whose end we do not know has said something unheard."""
        while True:
            await asyncio.sleep(KEEP_S)
            with contextlib.suppress(*Trouble):
                await self._touch()

    # ---- inside --------------------------------------------------------------------------------------------------

    async def _serve(self, connection: AbstractConnection) -> None:
        self._changes.clear()
        await self._subscribe(connection, "SUBSCRIBE", ["", *self._feeds])
        await connection.read_response()  # the first confirmation: it listens
        self._link.well("listening")
        sender = asyncio.create_task(self._send_changes(connection))
        try:
            async for kind, topic, payload in _messages(connection):
                feed = self._feeds.get(topic.decode()[len(self._prefix) :])
                if feed is None:
                    continue
                if kind == b"message":
                    feed.take(of_message(payload))
                elif kind == b"subscribe":
                    feed.subscribed.set()
                    feed.missed()
        finally:
            await ended([sender])

    async def _send_changes(self, connection: AbstractConnection) -> None:
        """A connection that breaks here is noticed by whoever reads from it."""
        with contextlib.suppress(*Trouble):
            while True:
                while self._changes:
                    command = self._changes[0][0]
                    channels = []
                    while self._changes and self._changes[0][0] == command:
                        channels.append(self._changes.popleft()[1])
                    await self._subscribe(connection, command, channels)
                self._changed.clear()
                await self._changed.wait()

    async def _subscribe(self, connection: AbstractConnection, command: str, channels: list[str]) -> None:
        for i in range(0, len(channels), AT_ONCE):
            topics = [self._prefix + channel for channel in channels[i : i + AT_ONCE]]
            await connection.send_command(command, *topics, check_health=False)

    def _change(self, command: str, channel: str) -> None:
        self._changes.append((command, channel))
        self._changed.set()

    async def _touch(self) -> None:
        known = list(self._feeds.items())
        for i in range(0, len(known), AT_ONCE):
            part = known[i : i + AT_ONCE]
            keys = [self._prefix + channel for channel, _ in part]
            newest = await self._link.asks.eval(TOUCH, len(keys), *keys, str(int(self._keep_s)))
            for (_, feed), last in zip(part, newest, strict=True):
                if feed.newest and last.decode() != feed.newest:
                    feed.missed()


async def _messages(connection: AbstractConnection) -> AsyncGenerator[tuple[bytes, bytes, bytes], None]:
    """What is said to this connection. Raises what a connection raises, and TimeoutError when Redis stays silent."""
    asked = False
    while True:
        answer = await connection.read_response(timeout=ANSWER_S if asked else PING_S)
        if answer is None:
            if asked:
                raise TimeoutError
            asked = True
            await connection.send_command("PING", check_health=False)
            continue
        asked = False
        if answer[0] != b"pong":
            yield answer[0], answer[1], answer[2]
