"""Runs pieces of work on a database: a function of one SQLAlchemy connection is one transaction.

The same function runs on both. PostgreSQL is spoken to asynchronously (asyncpg). SQLite has nothing to wait for but its
file, so a whole transaction goes to a thread in one hop: a driver that hops once per statement costs three times as much.
Writes queue here, in order, instead of polling the file's lock.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.event import listen
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from orchestrator.errors import StoreUnavailable

T = TypeVar("T")
Work = Callable[[Connection], T]

READERS = 4
CONNECT_S, COMMAND_S = 5.0, 60.0
"""After these PostgreSQL counts as away: a server that is unreachable says nothing at all."""


class Database(Protocol):
    """Raises `StoreUnavailable`; `IntegrityError` passes through. A write whose caller is cancelled still happens whole."""

    async def read(self, work: Work[T]) -> T:
        """Statements that only read."""
        ...

    async def write(self, work: Work[T]) -> T:
        """One transaction: committed when `work` returns, rolled back when it raises."""
        ...

    async def close(self) -> None: ...


def connect(url: str) -> Database:
    """For `sqlite+aiosqlite:///path` or `postgresql+asyncpg://…`. Connects when first used."""
    if make_url(url).get_backend_name() == "sqlite":
        return Sqlite(url)
    return Postgres(url)


class Sqlite:
    """One thread writes, some read: in WAL mode neither waits for the other."""

    def __init__(self, url: str) -> None:
        self._engine: Engine = create_engine(make_url(url).set(drivername="sqlite+pysqlite"), pool_size=READERS + 1)
        listen(self._engine, "connect", prepare_sqlite)
        self._writer = ThreadPoolExecutor(1, "sqlite-writer")
        self._readers = ThreadPoolExecutor(READERS, "sqlite-reader")

    async def read(self, work: Work[T]) -> T:
        return await self._hop(self._readers, self._read, work)

    async def write(self, work: Work[T]) -> T:
        return await self._hop(self._writer, self._write, work)

    async def close(self) -> None:
        for threads in (self._writer, self._readers):
            await asyncio.to_thread(threads.shutdown)
        self._engine.dispose()

    async def _hop(self, threads: ThreadPoolExecutor, run: Callable[[Work[T]], T], work: Work[T]) -> T:
        future = asyncio.get_running_loop().run_in_executor(threads, run, work)
        try:
            return await asyncio.shield(future)
        except IntegrityError:
            raise
        except (SQLAlchemyError, OSError) as error:
            raise unavailable(error) from error

    def _read(self, work: Work[T]) -> T:
        with self._engine.connect() as connection:
            return work(connection)

    def _write(self, work: Work[T]) -> T:
        with self._engine.begin() as connection:
            return work(connection)


class Postgres:
    """A pool of asyncpg connections, tried before use, so that a restarted server is noticed here."""

    def __init__(self, url: str) -> None:
        limits = {"timeout": CONNECT_S, "command_timeout": COMMAND_S}
        self._engine: AsyncEngine = create_async_engine(
            url, pool_size=8, max_overflow=8, pool_pre_ping=True, pool_timeout=CONNECT_S, connect_args=limits
        )

    async def read(self, work: Work[T]) -> T:
        return await self._whole(work, commit=False)

    async def write(self, work: Work[T]) -> T:
        return await self._whole(work, commit=True)

    async def close(self) -> None:
        await self._engine.dispose()

    async def _whole(self, work: Work[T], *, commit: bool) -> T:
        return await asyncio.shield(asyncio.ensure_future(self._run(work, commit)))

    async def _run(self, work: Work[T], commit: bool) -> T:
        try:
            connection = await self._engine.connect()
        except Exception as error:  # drivers raise their own kinds while connecting, and the pool its timeout
            raise unavailable(error) from error
        try:
            result = await connection.run_sync(work)
            if commit:
                await connection.commit()
            return result
        except IntegrityError:
            raise
        except (SQLAlchemyError, OSError) as error:
            raise unavailable(error) from error
        finally:
            await connection.close()


def prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    """WAL: readers never wait for the writer. NORMAL: a power cut may cost the last commits, never the file; a killed
    process costs nothing."""
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=5000", "temp_store=MEMORY"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def unavailable(error: Exception) -> StoreUnavailable:
    """Any driver's trouble, in our words."""
    cause = str(getattr(error, "orig", None) or error).strip().splitlines()
    return StoreUnavailable(
        f"The database does not answer ({cause[0] if cause else type(error).__name__})."
        " Check that it runs, that CODEACT_STORE_URL is right, and that its disk is not full."
    )
