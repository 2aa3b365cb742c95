"""A store whose answers get lost, or that is another server's by now: what is stored is stored once, or not at all."""

from __future__ import annotations

import pytest

from orchestrator import journal as journals
from orchestrator.adapters.bus_memory import MemoryBus
from orchestrator.adapters.store_sql import SqlStore
from orchestrator.agent.profiles import profile_for
from orchestrator.agent.prompt import Transcript
from orchestrator.errors import Conflict, StoreUnavailable
from orchestrator.journal import Journal
from tests.contract.test_store import closed, opened, step, store, url

__all__ = ["store", "url"]  # fixtures


class Cut:
    """The way to the store, which is cut `before` a fact arrives there, or after, when the answer comes back."""

    def __init__(self, store: SqlStore, cuts: list[str]) -> None:
        self._store, self._cuts = store, cuts

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    async def append(self, *arguments) -> None:
        cut = self._cuts.pop(0) if self._cuts else ""
        if cut == "before":
            raise StoreUnavailable("cut")
        await self._store.append(*arguments)
        if cut == "after":
            raise StoreUnavailable("cut")


async def begun(store, owner: str = "me") -> tuple[Journal, MemoryBus, str]:
    bus = MemoryBus()
    cursor = await bus.head("conversation:c")
    event = opened("t")
    assert await store.open_turn("c", event, "me", cursor, None) == "opened"
    journal = Journal(store, bus, "c", Transcript(profile_for("x", "fenced", ""), 4096, 100), cursor, "t", owner)
    await journal.begin(event)
    return journal, bus, cursor


async def told(bus: MemoryBus, cursor: str) -> list[bytes]:
    async for batch in bus.follow("conversation:c", cursor):
        return [entry.data.partition(b'"seq":')[2][:1] for entry in batch]
    raise AssertionError


@pytest.mark.parametrize("cuts", [["after"], ["before"], ["before", "after"], ["before", "before", "after", "after"]])
async def test_facts_are_stored_and_told_once_however_the_way_is_cut(store, cuts, monkeypatch):
    monkeypatch.setattr(journals, "AGAIN_S", 0.01)
    journal, bus, cursor = await begun(Cut(store, cuts))
    await journal.record([step("t", 2), closed("t", 3)])
    await journal.settled()
    assert [event.seq for event in await store.events("c")] == [1, 2, 3]
    assert await told(bus, cursor) == [b"1", b"2", b"3"]


@pytest.mark.parametrize("cuts", [[], ["before"]])
async def test_another_servers_facts_are_not_taken_for_ours(store, cuts, monkeypatch):
    monkeypatch.setattr(journals, "AGAIN_S", 0.01)
    journal, bus, cursor = await begun(Cut(store, cuts))
    [left] = await store.left_open("other")
    await store.take_over(left, "other")
    await store.append("c", [step("t", 2, "closed by the other"), closed("t", 3)], "other")
    await journal.record([step("t", 2, "still ours?")])
    with pytest.raises(Conflict):
        await journal.settled()
    assert await told(bus, cursor) == [b"1"], "told, and not stored"
    with pytest.raises(Conflict):
        await journal.check_ours()


async def test_a_store_that_stays_away_is_given_up(store, monkeypatch):
    monkeypatch.setattr(journals, "AGAIN_S", 0.01)
    monkeypatch.setattr(journals, "STORE_AWAY_S", 0.1)
    journal, bus, cursor = await begun(Cut(store, ["before"] * 1000))
    await journal.record([step("t", 2)])
    with pytest.raises(StoreUnavailable):
        await journal.settled()
    assert await told(bus, cursor) == [b"1"]
