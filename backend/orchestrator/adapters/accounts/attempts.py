"""Tries to sign in, counted before they are judged: many at once are as many."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, text

from orchestrator.adapters.databases import Database

COUNT = text(
    "INSERT INTO attempts (key, count, since, until) VALUES (:key, 1, :now, :end)"
    " ON CONFLICT (key) DO UPDATE SET"
    " count = CASE WHEN attempts.until <= :now THEN 1 ELSE attempts.count + 1 END,"
    " since = CASE WHEN attempts.until <= :now THEN :now ELSE attempts.since END,"
    " until = CASE WHEN attempts.until <= :now THEN :end ELSE attempts.until END"
    " RETURNING count, until"
)
CLEAR = text("DELETE FROM attempts WHERE key = :key")
RETURN = text("UPDATE attempts SET count = count - 1 WHERE key = :key AND count > 0")


class SqlAttempts:
    """The Attempts port. Keys are always taken in one order, so that no two transactions wait for each other."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(self, keys: Iterable[tuple[str, int, float]], now: float) -> float:
        def work(connection: Connection) -> float:
            wait = 0.0
            for key, most, window in sorted(keys):
                row = connection.execute(COUNT, {"key": key, "now": now, "end": now + window}).one()
                if row[0] > most:
                    wait = max(wait, row[1] - now)
            return wait

        return await self._database.write(work)

    async def forgive(self, cleared: Iterable[str], returned: Iterable[str]) -> None:
        statements = {**dict.fromkeys(cleared, CLEAR), **dict.fromkeys(returned, RETURN)}

        def work(connection: Connection) -> None:
            for key in sorted(statements):
                connection.execute(statements[key], {"key": key})

        await self._database.write(work)
