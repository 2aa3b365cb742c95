"""What people use is counted once, with the facts it belongs to; SQLite and PostgreSQL, one suite."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from sqlalchemy import text

from orchestrator.adapters import counting, store_sql
from orchestrator.adapters import usage as sql
from orchestrator.adapters.usage import SqlUsage
from orchestrator.errors import Conflict
from orchestrator.ports import Spent
from orchestrator.usage import DAY_S, QuotaSet, Used, What
from tests.contract.test_store import closed, opened, step, url

__all__ = ["url"]
NOON = 20_000 * DAY_S + DAY_S / 2


@pytest.fixture
async def store(url: str):
    store = store_sql.create(url, counts=True)
    await store.migrate()
    for id, user in (("a", "ann"), ("b", "ann"), ("c", "bob")):
        await store.create_conversation(user, id, "", 1.0)
    yield store
    await store.close()


@pytest.fixture
def usage(store):
    return SqlUsage(store.database)


async def say(store, conversation: str, turn: str, seq: int = 1, at: float = NOON, most: int | None = None):
    return await store.open_turn(conversation, opened(turn, seq, at=at), "me", "x-0", None, most)


async def used(usage, user: str, at: float = NOON) -> Used:
    return (await usage.now(user, at, disk=True)).used


async def test_a_message_is_counted_for_its_user_and_its_day(store, usage):
    assert await say(store, "a", "t1") == "opened"
    assert await say(store, "c", "t1") == "opened"
    assert (await used(usage, "ann")).messages == 1 and (await used(usage, "bob")).messages == 1
    assert (await used(usage, "ann", NOON + DAY_S)).messages == 0


async def test_the_same_message_again_is_not_counted_again(store, usage):
    await say(store, "a", "t1")
    assert await say(store, "a", "t1") == "known"
    assert await say(store, "a", "t2", 2) == "busy"
    assert await say(store, "gone", "t3") == "unknown"
    assert (await used(usage, "ann")).messages == 1


async def test_of_two_messages_at_the_last_unit_one_is_opened_and_nothing_of_the_other_is_stored(store, usage):
    await say(store, "c", "t1")
    results = await asyncio.gather(say(store, "a", "t1", most=1), say(store, "b", "t1", most=1))
    assert sorted(results) == ["opened", "over"]
    assert (await used(usage, "ann")).messages == 1
    refused = "b" if results[0] == "opened" else "a"
    page = await store.page("ann", refused)
    assert page is not None and page.events == [] and not page.summary.running and page.summary.updated_at == 1.0


@pytest.mark.parametrize("most", [0, -1, -(2**70)])
async def test_where_nothing_is_allowed_nothing_is_opened(store, usage, most):
    assert await say(store, "a", "t1", most=max(most, -1)) == "over"
    assert await used(usage, "ann") == Used()


async def test_a_limit_beyond_every_number_is_none(store):
    assert await say(store, "a", "t1", most=2**80) == "opened"


async def test_a_refused_message_can_be_sent_again_when_there_is_more(store):
    assert await say(store, "a", "t1", most=0) == "over"
    assert await say(store, "a", "t1", most=1) == "opened"


async def test_what_facts_cost_is_counted_with_them_and_only_when_they_are_stored(store, usage):
    await say(store, "a", "t1")
    await store.append("a", [step("t1", 2)], "me", Spent(NOON, tokens=30, cpu_ms=1500, disk=4096))
    for owner, seq in (("me", 2), ("me", 9), ("other", 3)):
        with suppress(Conflict):
            await store.append("a", [step("t1", seq)], owner, Spent(NOON, tokens=1000))
            pytest.fail("stored twice, out of order, or by another owner")
    await store.append("a", [closed("t1", 3)], "me", Spent(NOON, tokens=2))
    assert await used(usage, "ann") == Used(messages=1, model_tokens=32, cpu_ms=1500, disk=4096)


async def test_deleting_a_conversation_gives_its_disk_back_and_nothing_else(store, usage):
    await say(store, "a", "t1")
    await store.append("a", [closed("t1", 2)], "me", Spent(NOON, tokens=7, cpu_ms=8, disk=9))
    assert await store.delete("ann", "a")
    assert await used(usage, "ann") == Used(messages=1, model_tokens=7, cpu_ms=8, disk=0)


async def test_absurd_costs_neither_give_anything_back_nor_overflow(store, usage):
    await say(store, "a", "t1")
    for seq, number in enumerate((-(2**60), 2**200, 2**62, 0), 2):
        await store.append("a", [step("t1", seq)], "me", Spent(NOON, number, number, number))
    now = await used(usage, "ann")
    assert now.model_tokens == now.cpu_ms == 2 * 2**40 and now.disk == 0


async def test_a_clock_that_jumps_changes_the_day_that_is_counted_and_nothing_else(store, usage):
    await say(store, "a", "t1", at=NOON)
    assert await say(store, "b", "t1", at=NOON - 2 * DAY_S, most=1) == "opened"
    assert (await used(usage, "ann")).messages == 1
    assert (await used(usage, "ann", NOON - 2 * DAY_S)).messages == 1
    await store.append("a", [closed("t1", 2)], "me", Spent(-5.0, tokens=3))
    assert (await used(usage, "ann", -5.0)).model_tokens == 3


async def test_a_store_that_does_not_count_writes_no_counts(url):
    store = store_sql.create(url)
    await store.migrate()
    await store.create_conversation("local", "a", "", 1.0)
    await say(store, "a", "t1")
    await store.append("a", [closed("t1", 2)], "me", Spent(NOON, tokens=30, cpu_ms=1, disk=1))
    assert await used(SqlUsage(store.database), "local") == Used()
    await store.close()


async def test_many_at_once_in_many_conversations_are_all_counted(store, usage):
    for number in range(12):
        await store.create_conversation("eve", f"e{number}", "", 1.0)
    results = await asyncio.gather(*(say(store, f"e{number}", "t", most=7) for number in range(12)))
    assert results.count("opened") == 7 and results.count("over") == 5
    assert (await used(usage, "eve")).messages == 7


async def test_usage_by_day_disks_live_turns_and_owners(store, usage):
    await say(store, "a", "t1")
    await say(store, "c", "t9", at=NOON + DAY_S)
    await store.append("a", [step("t1", 2)], "me", Spent(NOON, disk=100))
    assert [(line.day, line.user, line.used.messages) for line in await usage.lines(20_000)] == [
        (20_000, "ann", 1),
        (20_001, "bob", 1),
    ]
    assert len(await usage.lines(20_001)) == 1
    assert await usage.disks() == {"ann": 100}
    assert [(turn.conversation, turn.turn, turn.user) for turn in await usage.live_turns()] == [
        ("a", "t1", "ann"),
        ("c", "t9", "bob"),
    ]
    assert await usage.open_in("ann") == {"a"} and await usage.open_in("nobody") == set()
    many = ["a", "c", *(f"none-{number}" for number in range(1200))]
    assert await usage.owners(many) == {"a": "ann", "c": "bob"} and await usage.owners([]) == {}


async def test_a_quota_replaces_the_one_before_and_an_empty_one_removes_it(usage):
    await usage.set_quota(QuotaSet("group", "staff", {What.MESSAGES: 5, What.DISK: None}))
    await usage.set_quota(QuotaSet("user", "ann", {What.MESSAGES: 0}))
    await usage.set_quota(QuotaSet("group", "staff", {What.MODEL_TOKENS: 2**53}))
    assert await usage.quotas() == [
        QuotaSet("group", "staff", {What.MODEL_TOKENS: 2**53}),
        QuotaSet("user", "ann", {What.MESSAGES: 0}),
    ]
    await usage.set_quota(QuotaSet("group", "staff", {}))
    assert [quota.scope for quota in await usage.quotas()] == ["user"]


async def test_what_sandboxes_use_beside_cells_is_charged_to_their_users(store, usage):
    await usage.charge({"a": Spent(NOON, cpu_ms=5, disk=70), "c": Spent(NOON, disk=8), "gone": Spent(NOON, cpu_ms=9)})
    await usage.charge({"a": Spent(NOON, cpu_ms=5)})
    await usage.charge({})
    assert await used(usage, "ann") == Used(cpu_ms=10, disk=70) and await used(usage, "bob") == Used(disk=8)


async def test_two_servers_at_the_last_unit_open_one(url, store, usage):
    other = store_sql.create(url, counts=True)
    results = await asyncio.gather(say(store, "a", "t1", most=1), say(other, "b", "t1", most=1))
    assert sorted(results) == ["opened", "over"]
    await other.close()


async def test_every_statement_of_a_message_uses_an_index(tmp_path):
    """Those for administrators may look at all; those that a message waits for may not."""
    store = store_sql.create(f"sqlite+aiosqlite:///{tmp_path}/store.db", counts=True)
    await store.migrate()
    hot = (sql.NOW, sql.NOW_WITH_DISK, sql.OPEN_IN, counting.MESSAGE, counting.COST, counting.DISK, counting.MESSAGES)

    def plans(connection):
        for statement in hot:
            values = dict.fromkeys(statement.compile().params, 1)
            for row in connection.execute(text(f"EXPLAIN QUERY PLAN {statement.text}"), values):
                yield row.detail

    found = await store.database.read(lambda connection: list(plans(connection)))
    assert (
        found
        and [plan for plan in found if plan.startswith("SCAN") and "INDEX" not in plan and "CONSTANT" not in plan] == []
    )
    await store.close()
