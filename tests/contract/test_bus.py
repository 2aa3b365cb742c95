"""What every Bus promises: in memory, and over a real Redis. Another adapter joins as another parameter of `bus`; the last
part is about memory alone."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from orchestrator.adapters import bus_redis
from orchestrator.adapters.bus_memory import OVERHEAD, MemoryBus
from orchestrator.ports import OLDEST, TooOld


@pytest.fixture(params=["memory", "redis"])
async def bus(request):
    if request.param == "memory":
        bus = MemoryBus()
    else:
        bus = await bus_redis.create(request.getfixturevalue("redis").url())
    yield bus
    await bus.close()


async def read(bus, channel: str, cursor: str, count: int) -> list[bytes]:
    """The next `count` things told after `cursor`."""
    got: list[bytes] = []
    async with aclosing(bus.follow(channel, cursor)) as batches:
        while len(got) < count:
            got += [entry.data for entry in await asyncio.wait_for(anext(batches), 5)]
    return got


async def tell(bus, channel: str, *words: str) -> list[str]:
    return [await bus.publish(channel, word.encode()) for word in words]


async def test_a_follower_gets_what_is_told_after_its_cursor_in_order(bus):
    head = await bus.head("a")
    await tell(bus, "a", "1", "2", "3")
    assert await read(bus, "a", head, 3) == [b"1", b"2", b"3"]


async def test_the_first_batch_comes_at_once_even_when_empty(bus):
    async with aclosing(bus.follow("a", await bus.head("a"))) as batches:
        assert await asyncio.wait_for(anext(batches), 5) == []


async def test_every_entrys_cursor_is_a_place_to_go_on_from(bus):
    cursors = await tell(bus, "a", "1", "2", "3")
    for n, cursor in enumerate(cursors):
        async with aclosing(bus.follow("a", cursor)) as batches:
            assert [entry.data for entry in await anext(batches)] == [b"1", b"2", b"3"][n + 1 :]
    async with aclosing(bus.follow("a", cursors[0])) as batches:
        assert [entry.cursor for entry in await anext(batches)] == cursors[1:]


async def test_the_head_is_the_cursor_of_the_last_entry(bus):
    cursors = await tell(bus, "a", "1", "2")
    assert await bus.head("a") == cursors[-1]


async def test_a_waiting_follower_hears_what_comes(bus):
    async with aclosing(bus.follow("a", await bus.head("a"))) as batches:
        await anext(batches)
        waiting = asyncio.ensure_future(anext(batches))
        await asyncio.sleep(0)
        await tell(bus, "a", "1", "2")
        assert b"".join(entry.data for entry in await asyncio.wait_for(waiting, 5)).startswith(b"1")


async def test_channels_do_not_hear_each_other(bus):
    head = await bus.head("a")
    await tell(bus, "b", "other")
    await tell(bus, "a", "mine")
    assert await read(bus, "a", head, 1) == [b"mine"]


async def test_all_followers_of_a_channel_hear_the_same(bus):
    head = await bus.head("a")
    readers = [asyncio.ensure_future(read(bus, "a", head, 200)) for _ in range(10)]
    expected = [str(n).encode() for n in range(200)]
    for data in expected:
        await bus.publish("a", data)
        if data.endswith(b"7"):
            await asyncio.sleep(0)
    assert await asyncio.gather(*readers) == [expected] * 10


async def test_leaving_and_coming_back_at_any_moment_loses_and_repeats_nothing(bus):
    head = await bus.head("a")

    async def write() -> None:
        for n in range(300):
            await bus.publish("a", str(n).encode())
            if n % 3 == 0:
                await asyncio.sleep(0)

    async def reread() -> list[int]:
        got, cursor = [], head
        while len(got) < 300:
            async with aclosing(bus.follow("a", cursor)) as batches:
                async for batch in batches:
                    for entry in batch:
                        got.append(int(entry.data))
                        cursor = entry.cursor
                    if batch and len(got) % 7 == 0:
                        break
                    if len(got) == 300:
                        break
        return got

    results = await asyncio.wait_for(asyncio.gather(write(), reread(), reread()), 20)
    assert results[1] == results[2] == list(range(300))


async def test_things_told_between_two_batches_are_in_the_second(bus):
    async with aclosing(bus.follow("a", await bus.head("a"))) as batches:
        await anext(batches)
        await tell(bus, "a", "1")
        assert [entry.data for entry in await anext(batches)] == [b"1"]
        await tell(bus, "a", "2", "3")
        assert [entry.data for entry in await anext(batches)] == [b"2", b"3"]


async def test_a_follower_that_leaves_while_it_waits_hurts_nobody(bus):
    head = await bus.head("a")
    leaver = asyncio.ensure_future(read(bus, "a", head, 1))
    stayer = asyncio.ensure_future(read(bus, "a", head, 1))
    await asyncio.sleep(0.01)
    leaver.cancel()
    await asyncio.gather(leaver, return_exceptions=True)
    await tell(bus, "a", "1")
    assert await stayer == [b"1"]


@pytest.mark.parametrize("cursor", ["", "-", "x", "other-1", "other-0", "life-x", "life--1", "life-²"])
async def test_a_cursor_of_another_life_is_too_old(bus, cursor):
    await tell(bus, "a", "1")
    with pytest.raises(TooOld):
        await anext(bus.follow("a", cursor))


async def test_a_cursor_from_the_future_is_too_old(bus):
    [cursor] = await tell(bus, "a", "1")
    life, n = cursor.rsplit("-", 1)
    with pytest.raises(TooOld):
        await anext(bus.follow("a", f"{life}-{int(n) + 1}"))


async def test_from_the_oldest_on_everything_is_heard_that_is_retained_and_what_comes(bus):
    async with aclosing(bus.follow("a", OLDEST)) as batches:
        assert await asyncio.wait_for(anext(batches), 5) == []
        await tell(bus, "a", "1")
        assert [entry.data for entry in await asyncio.wait_for(anext(batches), 5)] == [b"1"]
    await tell(bus, "a", "2", "3")
    await bus.head("a")
    assert await read(bus, "a", OLDEST, 3) == [b"1", b"2", b"3"]


async def test_the_bus_says_that_it_is_ready(bus):
    assert (await bus.check()).ok


# ---- the memory bus keeps its bounds --------------------------------------------------------------------------------


async def test_a_cursor_older_than_what_is_retained_is_too_old():
    bus = MemoryBus(channel_bytes=5 * (OVERHEAD + 1))
    cursors = await tell(bus, "a", *"0123456789")
    with pytest.raises(TooOld):
        await anext(bus.follow("a", cursors[3]))
    assert await read(bus, "a", cursors[4], 5) == [b"5", b"6", b"7", b"8", b"9"]


async def test_a_follower_that_falls_behind_what_is_retained_is_told():
    bus = MemoryBus(channel_bytes=5 * (OVERHEAD + 1))
    batches = bus.follow("a", await bus.head("a"))
    await anext(batches)
    await tell(bus, "a", *"0123456789")
    with pytest.raises(TooOld):
        await anext(batches)


async def test_an_entry_larger_than_the_whole_log_still_reaches_who_waits():
    bus = MemoryBus(channel_bytes=1000)
    batches = bus.follow("a", await bus.head("a"))
    await anext(batches)
    await bus.publish("a", b"x" * 5000)
    assert [len(entry.data) for entry in await anext(batches)] == [5000]


async def test_many_channels_stay_within_the_total_and_the_oldest_go_first():
    bus = MemoryBus(channel_bytes=10_000, total_bytes=20 * (OVERHEAD + 100))
    cursors = [await bus.publish(f"c{n}", b"x" * 100) for n in range(1000)]
    assert len(bus._logs) <= 20
    assert bus._size == sum(log.size for log in bus._logs.values()) <= 20 * (OVERHEAD + 100)
    async with aclosing(bus.follow("c999", cursors[999])) as batches:
        assert await anext(batches) == []
    before = f"{bus._life}-0"
    with pytest.raises(TooOld):
        await anext(bus.follow("c3", before))


async def test_a_dropped_channel_that_comes_back_never_reuses_a_cursor():
    bus = MemoryBus(channel_bytes=10_000, total_bytes=3 * (OVERHEAD + 100))
    [old] = [await bus.publish("a", b"x" * 100)]
    for n in range(10):
        await bus.publish(f"c{n}", b"x" * 100)
    await bus.publish("a", b"again")
    with pytest.raises(TooOld):
        await anext(bus.follow("a", old))


async def test_a_follower_that_is_up_to_date_outlives_its_logs_eviction():
    bus = MemoryBus(channel_bytes=10_000, total_bytes=3 * (OVERHEAD + 100))
    batches = bus.follow("a", await bus.head("a"))
    await bus.publish("a", b"1")
    assert [entry.data for entry in await anext(batches)] == [b"1"]
    for n in range(10):
        await bus.publish(f"c{n}", b"x" * 100)
    await bus.publish("a", b"2")
    assert [entry.data for entry in await anext(batches)] == [b"2"]


async def test_channels_that_were_only_watched_leave_nothing_behind():
    bus = MemoryBus()
    for n in range(100):
        async with aclosing(bus.follow(f"c{n}", await bus.head(f"c{n}"))) as batches:
            await anext(batches)
    assert not bus._logs
