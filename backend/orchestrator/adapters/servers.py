"""Servers that share a database: which of them live, and whose turns a dead one has left, all by the database's clock.

Each function is part of a transaction of its caller's.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

from orchestrator.adapters import sql
from orchestrator.ports import DEAD_S, LeftOpen

FORGET_S = 86400.0
"""Rows of servers that ended without a word are kept so long, for people who look."""

_NOW = {  # Unix seconds
    "sqlite": text("SELECT (julianday('now') - 2440587.5) * 86400.0"),
    "postgresql": text("SELECT CAST(extract(epoch FROM clock_timestamp()) AS double precision)"),
}


def beat(connection: Connection, owner: str) -> float:
    """Note that `owner` lives; the seconds since it last said so, 0 for the first time."""
    now = _now(connection)
    seen: float | None = connection.execute(sql.SEEN, {"id": owner}).scalar_one_or_none()
    connection.execute(sql.BEAT, {"id": owner, "now": now})
    if seen is None:
        connection.execute(sql.FORGET_SERVERS, {"before": now - FORGET_S})
        return 0.0
    return max(0.0, now - seen)


def leave(connection: Connection, owner: str) -> None:
    connection.execute(sql.LEAVE, {"id": owner})


def alive(connection: Connection) -> int:
    """How many servers live."""
    count: int = connection.execute(sql.COUNT_ALIVE, {"alive": _now(connection) - DEAD_S}).scalar_one()
    return count


def left_open(connection: Connection, owner: str) -> list[LeftOpen]:
    rows = connection.execute(sql.LEFT_OPEN, {"owner": owner, "alive": _now(connection) - DEAD_S})
    return [LeftOpen(*row) for row in rows]


def take_over(connection: Connection, left: LeftOpen, owner: str) -> bool:
    """One statement decides: of many who try, one finds the row as it was. The conversation's row is held meanwhile, which
    every fact of the old owner has to pass: it comes before, or is refused."""
    facts = {"conversation": left.conversation, "turn": left.turn, "was": left.owner, "owner": owner}
    connection.execute(sql.LOCK, {"id": left.conversation})
    taken = connection.execute(sql.TAKE_OVER, {**facts, "alive": _now(connection) - DEAD_S}).rowcount > 0
    if taken:
        connection.execute(sql.HAND_OVER, {"conversation": left.conversation, "owner": owner})
    return taken


def _now(connection: Connection) -> float:
    now: float = connection.execute(_NOW[connection.dialect.name]).scalar_one()
    return now
