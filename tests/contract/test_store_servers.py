"""What every Store promises to servers that share it: who lives, and whose turn it is."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from orchestrator.errors import Conflict
from orchestrator.ports import DEAD_S, Checkpoint
from tests.contract.test_store import closed, live, open_turn, step, store, url
from tests.support.raw_sql import raw

__all__ = ["store", "url"]  # fixtures


async def grow_old(store, owner: str, seconds: float) -> None:
    """As if the server had last said so long ago that it lives."""
    async with raw(store) as connection:
        await connection.execute(
            text("UPDATE servers SET seen_at = seen_at - :by WHERE id = :id"), {"by": seconds, "id": owner}
        )


async def test_a_server_says_that_it_lives_and_hears_how_long_it_was_silent(store):
    assert await store.beat("a") == 0
    assert 0 <= await store.beat("a") < DEAD_S
    await grow_old(store, "a", 7)
    assert 7 <= await store.beat("a") < 7 + DEAD_S


async def test_a_turn_is_left_open_when_its_owner_is_dead_and_not_before(store):
    await store.beat("a")
    await open_turn(store, "t", owner="a")
    assert await store.left_open("b") == []
    await grow_old(store, "a", DEAD_S + 1)
    [left] = await store.left_open("b")
    assert (left.conversation, left.turn, left.owner) == ("c", "t", "a")
    assert await store.left_open("a") == []
    await store.beat("a")
    assert await store.left_open("b") == [] and await store.take_over(left, "b") is None


async def test_a_server_that_leaves_hands_over_at_once(store):
    await store.beat("a")
    await open_turn(store, "t", owner="a")
    await store.leave("a")
    assert len(await store.left_open("b")) == 1


async def test_of_many_who_take_over_at_once_one_gets_the_turn(store):
    await open_turn(store, "t", owner="a")
    owners = [f"b{n}" for n in range(6)]
    await asyncio.gather(*(store.beat(owner) for owner in owners))
    [left] = await store.left_open("b0")
    taken = await asyncio.gather(*(store.take_over(left, owner) for owner in owners))
    assert sum(one is not None for one in taken) == 1
    assert [await store.owns("c", "t", owner) for owner in owners] == [one is not None for one in taken]
    assert not await store.owns("c", "t", "a") and not await store.owns("c", "other", "b0")


async def test_who_was_taken_over_can_store_nothing_more(store):
    await open_turn(store, "t", owner="a")
    await store.append("c", [step("t", 2)], "a")
    [left] = await store.left_open("b")
    taken = await store.take_over(left, "b")
    assert [event.seq for event in taken.events] == [1, 2] and taken.live is None
    for events in ([step("t", 3)], [closed("t", 3)]):
        with pytest.raises(Conflict):
            await store.append("c", events, "a")
    await store.append("c", [closed("t", 3)], "b")
    assert not await store.owns("c", "t", "b")
    with pytest.raises(Conflict):
        await store.append("c", [step("t", 4)], "b")


async def test_a_turn_that_is_closed_meanwhile_is_not_taken_over(store):
    await open_turn(store, "t", owner="a")
    await store.checkpoint([Checkpoint("c", "t", "x-1", live("t"))])
    [left] = await store.left_open("b")
    await store.append("c", [closed("t", 2)], "a")
    assert await store.take_over(left, "b") is None and await store.left_open("b") == []


async def test_taking_over_and_storing_at_once_are_one_after_the_other(store):
    """Either the fact is among those that were taken over, or it was refused; never stored behind the new owner's back."""
    for n in range(20):
        at = 2 * n
        await open_turn(store, f"t{n}", at + 1, owner="a")
        [left] = await store.left_open("b")
        stored, taken = await asyncio.gather(
            store.append("c", [closed(f"t{n}", at + 2)], "a"), store.take_over(left, "b"), return_exceptions=True
        )
        if isinstance(stored, Conflict):
            assert len(taken.events) == at + 1
            await store.append("c", [closed(f"t{n}", at + 2)], "b")
        else:
            assert stored is None and (taken is None or len(taken.events) == at + 2)
