"""SQLite, as `databases.Database` asks for it: one connection writes, some read; in WAL mode neither waits for the other.

SQLite has nothing to wait for but its file. A transaction of a few small statements takes less time than the hop to a
thread and back would, so it is carried out on the spot. Whatever might take longer goes to a thread: transactions of many
bytes, what SQLAlchemy is needed for, moving the log into the file (which waits for the disk), and everything while another
program holds the file's lock or the disk has lately been slow. Writes queue here, in order, instead of polling that lock.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar, cast

from sqlalchemy import TextClause, create_engine
from sqlalchemy.engine import Engine, make_url
from sqlalchemy.event import listen
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from orchestrator.adapters.databases import Change, Taken, Values, Work, unavailable

P = ParamSpec("P")
T = TypeVar("T")

READERS = 4
WAIT_MS = 5000  # for a lock that another program holds, in a thread
AT_ONCE_BYTES = 64 * 1024  # of a transaction that may be carried out while everybody else waits
SLOW_S, WARY_S = 0.01, 10.0  # one that took longer than the first sends all that come in the second to the thread
LOG_PAGES = 1000  # of the write-ahead log, about, after which it is moved into the file


class Sqlite:
    """For `sqlite+aiosqlite:///path`. Connects when first used."""

    def __init__(self, url: str) -> None:
        file = make_url(url).set(drivername="sqlite+pysqlite")
        self._engine: Engine = create_engine(file, pool_size=READERS + 1, hide_parameters=True)  # in errors, and so in logs
        listen(self._engine, "connect", prepare)
        self._direct = Direct(self._engine)
        self._writer = ThreadPoolExecutor(1, "sqlite-writer")
        self._readers = ThreadPoolExecutor(READERS, "sqlite-reader")
        self._queued = 0  # what the writer has been given and has not finished
        self._wary_until = 0.0

    async def read(self, work: Work[T]) -> T:
        return await self._answer(asyncio.get_running_loop().run_in_executor(self._readers, self._read, work))

    async def write(self, work: Work[T]) -> T:
        return await self._answer(self._queue(self._write, work))

    async def find(self, statement: TextClause, values: Values) -> Sequence[Sequence[Any]]:
        if self._may_at_once:
            with suppress(sqlite3.Error):  # told by those who take their time
                return self._direct.find(statement, values)
        return await self.read(lambda connection: connection.execute(statement, values).all())

    async def change(self, changes: Sequence[Change], needed: int = 1) -> bool:
        if not self._may_at_once or _size(changes) > AT_ONCE_BYTES:
            return await self._answer(self._queue(self._change_in_time, changes, needed))
        try:
            return self._change_at_once(changes, needed)
        except sqlite3.OperationalError as error:
            if not _is_locked(error):
                raise unavailable(error) from error
            return await self._answer(self._queue(self._change_in_time, changes, needed))
        except sqlite3.Error as error:
            raise _told(error) from error

    async def close(self) -> None:
        for threads in (self._writer, self._readers):
            await asyncio.to_thread(threads.shutdown)
        self._direct.close()
        self._engine.dispose()

    @property
    def _may_at_once(self) -> bool:
        """Whether this thread may use the writer's connection: nobody else does, and it was quick of late."""
        return not self._queued and self._direct.ready and time.monotonic() >= self._wary_until

    def _change_at_once(self, changes: Sequence[Change], needed: int) -> bool:
        began = time.monotonic()
        changed = self._direct.change(changes, needed)
        ended = time.monotonic()
        if ended - began > SLOW_S:
            self._wary_until = ended + WARY_S
        if self._direct.pages >= LOG_PAGES:
            self._queue(self._direct.tidy)
        return changed

    def _change_in_time(self, changes: Sequence[Change], needed: int) -> bool:
        """In the writer's thread, where one may wait."""
        changed = self._direct.change(changes, needed, WAIT_MS)
        if self._direct.pages >= LOG_PAGES:
            self._direct.tidy()
        return changed

    def _queue(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        self._queued += 1
        future = asyncio.get_running_loop().run_in_executor(self._writer, lambda: work(*args, **kwargs))
        future.add_done_callback(self._finished)
        return future

    def _finished(self, _: asyncio.Future[Any]) -> None:
        self._queued -= 1

    async def _answer(self, future: asyncio.Future[T]) -> T:
        try:
            return await asyncio.shield(future)
        except (sqlite3.Error, SQLAlchemyError, OSError) as error:
            raise _told(error) from error

    def _read(self, work: Work[T]) -> T:
        with self._engine.connect() as connection:
            return work(connection)

    def _write(self, work: Work[T]) -> T:
        with self._engine.begin() as connection:
            return work(connection)


class Direct:
    """A connection of the driver's own. Not for two threads at once. Raises what the driver raises."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: sqlite3.Connection | None = None
        self.pages = 0  # written since the log was last moved into the file, about

    @property
    def ready(self) -> bool:
        return self._connection is not None

    def change(self, changes: Sequence[Change], needed: int = 1, wait_ms: int = 0) -> bool:
        """See `Database.change`. `wait_ms`: how long to wait for another program's lock."""
        connection = self._connection or self._connect()
        if wait_ms:
            connection.execute(f"PRAGMA busy_timeout={wait_ms}")
        try:
            connection.execute("BEGIN IMMEDIATE")
            changed = _apply(connection, changes, needed)
            connection.execute("COMMIT" if changed else "ROLLBACK")
        except BaseException as error:
            self._give_up(connection, error)
            raise
        finally:
            if wait_ms and self._connection is not None:
                connection.execute("PRAGMA busy_timeout=0")
        self.pages += 2 * len(changes) + _size(changes) // 2048
        return changed

    def find(self, statement: TextClause, values: Values) -> list[tuple[Any, ...]]:
        assert self._connection is not None
        return self._connection.execute(statement.text, values).fetchall()

    def tidy(self) -> None:
        """Move the log into the file, so that it begins anew. A failure now is none: the next one takes more."""
        self.pages = 0
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self) -> sqlite3.Connection:
        pooled = self._engine.raw_connection()
        connection = cast(sqlite3.Connection, pooled.driver_connection)
        pooled.detach()
        connection.isolation_level = None  # transactions begin and end where we say so
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute("PRAGMA busy_timeout=0")
        self._connection = connection
        return connection

    def _give_up(self, connection: sqlite3.Connection, error: BaseException) -> None:
        """Nothing of it has happened. A connection in which anything else is wrong is not used again."""
        if not isinstance(error, sqlite3.IntegrityError) and not _is_locked(error):
            self.close()
        elif connection.in_transaction:
            connection.execute("ROLLBACK")


def prepare(connection: sqlite3.Connection, _record: object) -> None:
    """WAL: readers never wait for the writer. NORMAL: a power cut may cost the last commits, never the file; a killed
    process costs nothing."""
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", f"busy_timeout={WAIT_MS}",
                   "temp_store=MEMORY"):  # fmt: skip
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _apply(connection: sqlite3.Connection, changes: Sequence[Change], needed: int) -> bool:
    for position, (statement, values) in enumerate(changes):
        run = connection.executemany if isinstance(values, list) else connection.execute
        if run(statement.text, values).rowcount == 0 and position < needed:
            return False
    return True


def _size(changes: Sequence[Change]) -> int:
    """Characters of all texts, which is what transactions differ in."""
    rows = (row for _, values in changes for row in (values if isinstance(values, list) else (values,)))
    return sum(len(value) for row in rows for value in row.values() if isinstance(value, str))


def _is_locked(error: BaseException) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _told(error: Exception) -> Exception:
    return Taken(str(error)) if isinstance(error, sqlite3.IntegrityError | IntegrityError) else unavailable(error)
