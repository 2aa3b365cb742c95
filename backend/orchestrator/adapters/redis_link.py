"""The way to one Redis: its name for people, its connections, and whether it answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, RedisError

from orchestrator.errors import BadSetting
from orchestrator.observability.counts import counts

ANSWER_S = 2.0
"""A Redis that has not answered for so long is away."""
ASKING = 4
"""Connections for questions; one more writes, one more listens."""

Trouble = (RedisError, OSError, TimeoutError)
"""What a connection raises when Redis is away, refuses, or hangs."""


Command = tuple[str | bytes, ...]


def where(url: str) -> str:
    """The server's name without the password. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return parts.path
    return f"{parts.hostname or 'localhost'}:{parts.port or 6379}"


class Link:
    """Whether Redis can be reached, as its two long-lived connections find it, and where to get connections."""

    def __init__(self, url: str) -> None:
        """Raises BadSetting, whose words never hold the password."""
        try:
            self.where = where(url)
            self._pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
                url,
                max_connections=ASKING,
                timeout=ANSWER_S,
                socket_timeout=ANSWER_S,
                socket_connect_timeout=ANSWER_S,
                retry=Retry(NoBackoff(), 0),  # what may be tried again is known to whoever asks
                protocol=2,
            )
        except ValueError as error:
            raise BadSetting(
                "CODEACT_BUS_URL is not an address that Redis clients know. Write it as "
                "redis://:password@host:6379/0, or rediss://… for TLS."
            ) from error
        self.asks = Redis(connection_pool=self._pool)
        self.database = int(self._pool.connection_kwargs.get("db") or 0)
        self._troubles: dict[str, str] = {"listening": "it has not answered yet"}
        self._turned = asyncio.Event()
        self.on_return: Callable[[], None] | None = None
        """Called when a connection is back: Redis may have lost what it held, and others may not have noticed."""

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[AbstractConnection, None]:
        """A connection of one's own. Raises what `Trouble` names."""
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            yield connection
        finally:
            with suppress(*Trouble):
                await connection.disconnect(nowait=True)

    @property
    def up(self) -> bool:
        return not self._troubles

    @property
    def words(self) -> str:
        """Why Redis cannot be used now, and what to do; empty when it can."""
        return next((_words(self.where, reason) for reason in self._troubles.values()), "")

    def words_for(self, error: BaseException) -> str:
        return _words(self.where, _reason(error))

    def well(self, side: str) -> None:
        if self._troubles.pop(side, None) is not None and self.on_return is not None:
            self.on_return()
        self._turn()

    def failed(self, side: str, error: BaseException) -> None:
        if side not in self._troubles:
            counts.errors["bus"] += 1
        self._troubles[side] = _reason(error)
        self._turn()

    async def mended(self) -> None:
        """Until Redis can be used."""
        while self._troubles:
            await self._turned.wait()

    async def reach(self) -> AsyncGenerator[bool, None]:
        """Whether Redis can be used: now, then at every change."""
        while True:
            before = self.up
            yield before
            while self.up == before:
                await self._turned.wait()

    async def close(self) -> None:
        await self.asks.aclose()
        await self._pool.disconnect(inuse_connections=True)

    def _turn(self) -> None:
        self._turned.set()  # wakes whoever waits now, once
        self._turned.clear()


log = logging.getLogger(__name__)
REFUSED = "it refuses the name or password"


async def asked(connection: AbstractConnection, commands: Sequence[Command]) -> list[Any]:
    """All in one write; every answer is read before an error among them is raised."""
    if commands:
        await connection.send_packed_command(connection.pack_commands(commands))
    answers: list[Any] = []
    wrong: RedisError | None = None
    for _ in commands:
        try:
            answers.append(await connection.read_response())
        except RedisError as error:
            if not connection.is_connected:
                raise
            wrong = error
    if wrong is not None:
        raise wrong
    return answers


async def ended(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel until it is heard: the client writes within `asyncio.wait_for`, which before Python 3.12 may swallow it."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=0.1)


def refused(error: BaseException) -> bool:
    """Whether Redis does not take the name or password. While connecting, that is only the cause of what is raised."""
    kinds = AuthenticationError, AuthorizationError
    return isinstance(error, kinds) or isinstance(error.__cause__, kinds)


def _reason(error: BaseException) -> str:
    if refused(error):
        return REFUSED
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return "it does not answer in time"
    return str(error).strip().rstrip(".") or type(error).__name__


def _words(where: str, reason: str) -> str:
    if reason == REFUSED:
        return f"Redis at {where} refuses the name or password in CODEACT_BUS_URL. Put the right ones there, then restart."
    return (
        f"Redis at {where} (CODEACT_BUS_URL) cannot be used: {reason}. Running turns go on; pages show what "
        "happens as soon as it is back."
    )
