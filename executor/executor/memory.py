"""What is remembered of each conversation's kernels from one life of the executor to the next."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

from executor.lifecycle import Reason
from executor.slot import Slot
from executor.store import Store
from executor.wire_claims import Previous

FORGET_S = 90 * 86400.0

REMEMBER = """
insert into kernels (conversation, generation, sandbox, holds, reason, at, told, touched)
values (:conversation, :generation, :sandbox, :holds, :reason, :at, :told, :touched)
on conflict (conversation) do update set
    generation = excluded.generation, sandbox = excluded.sandbox, holds = excluded.holds,
    reason = excluded.reason, at = excluded.at, told = excluded.told, touched = excluded.touched
"""
LOST = """
update kernels set sandbox = '', holds = 0,
    reason = case holds when 1 then :reason else reason end,
    at = case holds when 1 then :now else at end,
    told = case holds when 1 then 0 else told end
where sandbox <> '' and sandbox not in (select value from json_each(:adopted))
"""
MISSING = """
select conversation, sandbox from kernels
where sandbox <> '' and sandbox not in (select value from json_each(:adopted))
"""


class Memory:
    def __init__(self, store: Store, wall: Callable[[], float]) -> None:
        self._store = store
        self._wall = wall

    def remember(self, slot: Slot) -> None:
        """Returns at once; it is stored soon. Nothing is worth it before what is stored has been recalled."""
        history = slot.history
        if not history.recalled:
            return
        previous = history.previous
        facts = {
            "conversation": slot.conversation,
            "generation": history.generation,
            "sandbox": slot.live.life.id if slot.live is not None else "",
            "holds": int(history.holds_variables),
            "reason": previous.reason if previous else "",
            "at": previous.at if previous else 0.0,
            "told": int(history.untold is None),
            "touched": self._wall(),
        }
        self._store.later(lambda connection: connection.execute(REMEMBER, facts))

    async def recall(self, slot: Slot) -> None:
        """Raises StoreUnavailable."""
        if slot.history.recalled:
            return
        query = "select generation, reason, at, told, holds from kernels where conversation = ?"

        def read(connection: sqlite3.Connection) -> tuple[Any, ...]:
            return connection.execute(query, (slot.conversation,)).fetchone() or (0, "", 0.0, 1, 1)

        generation, reason, at, told, holds = await self._store.do(read)
        slot.history.recall(generation, Previous(reason=reason, at=at) if reason else None, bool(told), bool(holds))

    def forget(self, conversation: str) -> None:
        delete = "delete from kernels where conversation = ?"
        self._store.later(lambda connection: connection.execute(delete, (conversation,)))

    async def settle(self, adopted: list[str]) -> list[tuple[str, str]]:
        """At the start: the sandboxes that were there, and are not among the `adopted`, are lost. Those, as pairs of
        conversation and sandbox. Raises StoreUnavailable."""
        facts: dict[str, Any] = {"adopted": json.dumps(adopted), "now": self._wall(), "reason": Reason.HOST_LOST.value}

        def work(connection: sqlite3.Connection) -> list[tuple[str, str]]:
            connection.execute("delete from kernels where touched < ?", (self._wall() - FORGET_S,))
            lost = connection.execute(MISSING, facts).fetchall()
            connection.execute(LOST, facts)
            return lost

        return await self._store.do(work)
