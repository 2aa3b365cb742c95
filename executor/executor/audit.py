"""The audit: claims, grants, ends and takeovers, in the order in which they were. It can be added to and read; everything
else is refused by SQLite itself."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

from executor.store import Store
from executor.wire_claims import AuditEntry

PAGE = 500


class Audit:
    def __init__(self, store: Store, wall: Callable[[], float]) -> None:
        self._store = store
        self._wall = wall

    def note(self, action: str, facts: dict[str, Any]) -> None:
        """Returns at once; it is stored soon."""
        about = {key: value for key, value in facts.items() if value not in (None, "")}
        row = (self._wall(), action, str(about.pop("conversation", "")), str(about.pop("sandbox", "")), json.dumps(about))
        insert = "insert into audit (at, action, conversation, sandbox, facts) values (?, ?, ?, ?, ?)"
        self._store.later(lambda connection: connection.execute(insert, row))

    async def after(self, id: int, limit: int = PAGE) -> list[AuditEntry]:
        """The entries after the one with this id, oldest first, at most `limit`. Raises StoreUnavailable."""

        def read(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
            query = "select id, at, action, conversation, sandbox, facts from audit where id > ? order by id limit ?"
            return connection.execute(query, (id, min(limit, PAGE))).fetchall()

        return [
            AuditEntry(id=id, at=at, action=action, conversation=conversation, sandbox=sandbox, facts=json.loads(facts))
            for id, at, action, conversation, sandbox, facts in await self._store.do(read)
        ]
