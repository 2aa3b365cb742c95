"""What an executor must not forget: leases, the kernels that conversations have had, and the audit. One SQLite file.

All of it is done by one thread, in the order in which it was asked for, so nobody waits for the disk but who has to, and a
cell never does.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

PAUSE_S = 5.0  # for another process that holds the file, such as a backup
SCHEMA = """
create table if not exists leases (
    conversation text primary key,
    owner text not null,
    fence integer not null,
    expires_at real not null,
    tenant text not null,
    profile text not null
) without rowid;
create table if not exists kernels (
    conversation text primary key,
    generation integer not null,
    sandbox text not null,
    holds integer not null,
    reason text not null,
    at real not null,
    told integer not null,
    touched real not null
) without rowid;
create table if not exists audit (
    id integer primary key autoincrement,
    at real not null,
    action text not null,
    conversation text not null,
    sandbox text not null,
    facts text not null
);
create trigger if not exists audit_is_never_changed before update on audit
    begin select raise(abort, 'the audit is append-only'); end;
create trigger if not exists audit_is_never_cut before delete on audit
    begin select raise(abort, 'the audit is append-only'); end;
"""


class StoreUnavailable(Exception):
    """The file cannot be read or written; the message says why."""


class Store:
    """Opened with the first thing that is asked for. The file is closed to other users."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, "executor-db")
        self._connection: sqlite3.Connection | None = None

    async def do(self, work: Work[T]) -> T:
        """One transaction; it is stored when this returns, also when the caller was cancelled meanwhile. Raises
        StoreUnavailable."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transact, work)

    def later(self, work: Work[object]) -> None:
        """One transaction, some time soon. A failure is logged."""
        self._thread.submit(self._quietly, work)

    async def close(self) -> None:
        """After all that was asked for is done."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    # ---- in the thread -----------------------------------------------------------------------------------------------

    def _transact(self, work: Work[T]) -> T:
        try:
            connection = self._opened()
            with connection:
                connection.execute("begin immediate")
                return work(connection)
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailable(f"The executor's database {self._path} cannot be used: {error}.") from error

    def _quietly(self, work: Work[object]) -> None:
        try:
            self._transact(work)
        except StoreUnavailable as error:
            log.error("not stored: %s", error)

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._path.touch(mode=0o600)
            connection = sqlite3.connect(self._path, timeout=PAUSE_S, isolation_level=None)
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = normal")
            connection.executescript(SCHEMA)
            self._connection = connection
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
