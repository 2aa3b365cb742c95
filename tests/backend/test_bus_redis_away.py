"""The bus over a Redis that is killed, hangs, is emptied or full: nothing waits, nothing is told wrongly, all goes on."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, asynccontextmanager

import pytest

from orchestrator.adapters import bus_redis, redis_writer
from orchestrator.ports import OLDEST, TooOld
from tests.support.redis import RedisServer, server

WAIT_S = 30.0


@pytest.fixture
def redis():
    """One that the test may break."""
    with server() as one:
        yield one


@asynccontextmanager
async def pair(redis: RedisServer, **bounds):
    here, there = [await bus_redis.create(redis.url(0), **bounds) for _ in range(2)]
    try:
        yield here, there
    finally:
        await asyncio.gather(here.close(), there.close())


class Follower:
    """Reads for as long as it lives, and says which state the bus is in."""

    def __init__(self, bus, channel: str, cursor: str) -> None:
        self.got: list[bytes] = []
        self.states: list[bool] = []
        self.too_old = False
        self._news = asyncio.Event()
        self._tasks = [asyncio.create_task(self._read(bus, channel, cursor)), asyncio.create_task(self._watch(bus))]

    async def _read(self, bus, channel: str, cursor: str) -> None:
        try:
            async for batch in bus.follow(channel, cursor):
                self.got += [entry.data for entry in batch]
                self._tell()
        except TooOld:
            self.too_old = True
            self._tell()

    async def _watch(self, bus) -> None:
        async for state in bus.reach():
            self.states.append(state)
            self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news.clear()

    async def until(self, wanted) -> None:
        async with asyncio.timeout(WAIT_S):
            while not wanted(self):
                await self._news.wait()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)


@asynccontextmanager
async def follower(bus, channel: str, cursor: str):
    one = Follower(bus, channel, cursor)
    try:
        await one.until(lambda it: it.states)
        yield one
    finally:
        await one.close()


async def tell(bus, channel: str, numbers: range) -> list[str]:
    """Publishing never waits, whatever state Redis is in."""
    began = time.monotonic()
    cursors = [await bus.publish(channel, str(n).encode()) for n in numbers]
    assert time.monotonic() - began < 1.0
    return cursors


def numbers(data: list[bytes]) -> list[int]:
    return [int(word) for word in data]


async def test_killed_and_back_without_memory_readers_who_were_up_to_date_miss_nothing(redis):
    async with pair(redis) as (here, there):
        async with follower(there, "a", await there.head("a")) as reader:
            await tell(here, "a", range(100))
            await reader.until(lambda it: len(it.got) == 100)
            redis.crash()
            await reader.until(lambda it: it.states[-1] is False)
            await tell(here, "a", range(100, 200))
            assert not (await there.check()).ok and "CODEACT_BUS_URL" in (await there.check()).words
            redis.start()
            await reader.until(lambda it: len(it.got) >= 200)
            assert numbers(reader.got) == list(range(200))
            assert reader.states == [True, False, True] and not reader.too_old
            await reader.until(lambda it: it.states[-1] is True)
            assert (await there.check()).ok


async def test_killed_and_back_a_quiet_channel_keeps_its_place(redis):
    async with pair(redis) as (here, there):
        async with follower(there, "a", await there.head("a")) as reader:
            [*_, last] = await tell(here, "a", range(10))
            await reader.until(lambda it: len(it.got) == 10)
            redis.crash()
            await reader.until(lambda it: it.states[-1] is False)
            redis.start()
            await reader.until(lambda it: it.states[-1] is True)
            async with asyncio.timeout(WAIT_S):
                while not await _good(there, "a", last):  # once the publisher has put its place back
                    await asyncio.sleep(0.05)
            await tell(here, "a", range(10, 20))
            await reader.until(lambda it: len(it.got) >= 20 or it.too_old)
            assert numbers(reader.got) == list(range(20)) and not reader.too_old


async def _good(bus, channel: str, cursor: str) -> bool:
    batches = bus.follow(channel, cursor)
    try:
        await anext(batches)
    except TooOld:
        return False
    finally:
        await batches.aclose()
    return True


async def test_killed_and_back_without_memory_older_cursors_are_too_old(redis):
    async with pair(redis) as (here, there):
        cursors = await tell(here, "a", range(10))
        await here._writer.sent("a", cursors[-1])
        redis.crash()
        redis.start()
        await tell(here, "a", range(10, 20))
        for cursor in (cursors[0], cursors[8]):
            assert not await _good(there, "a", cursor)
        assert await _good(there, "a", cursors[9])


async def test_nobody_waits_for_a_redis_that_hangs_and_all_arrives_once_when_it_is_back(redis):
    async with pair(redis) as (here, there):
        async with follower(there, "a", await there.head("a")) as reader:
            await tell(here, "a", range(100))
            await reader.until(lambda it: len(it.got) == 100)
            redis.freeze()
            try:
                frozen = time.monotonic()
                told = 100
                while time.monotonic() - frozen < 10:
                    await tell(here, "a", range(told, told + 10))
                    told += 10
                    await asyncio.sleep(0.1)
                assert reader.states[-1] is False, "readers are told within 10 s that they hear nothing"
                began = time.monotonic()
                head = await here.head("b")
                assert time.monotonic() - began < 1.0
                assert not (await here.check()).ok
            finally:
                redis.thaw()
            await reader.until(lambda it: len(it.got) >= told)
            await reader.until(lambda it: it.states[-1] is True)
            assert numbers(reader.got) == list(range(told)) and not reader.too_old
            assert not await _good(there, "b", head)  # nobody knows what was told meanwhile


async def test_emptied_readers_who_were_up_to_date_go_on_and_others_start_over(redis):
    async with pair(redis) as (here, there):
        async with follower(there, "a", await there.head("a")) as reader:
            cursors = await tell(here, "a", range(10))
            await reader.until(lambda it: len(it.got) == 10)
            redis.ask("FLUSHALL")
            assert not await _good(there, "b", cursors[3])
            await tell(here, "a", range(10, 20))
            await reader.until(lambda it: len(it.got) >= 20 or it.too_old)
            assert numbers(reader.got) == list(range(20)) and not reader.too_old
        assert not await _good(there, "a", cursors[3])


async def test_emptied_and_told_to_by_another_process_readers_start_over(redis):
    async with pair(redis) as (here, there):
        async with follower(there, "a", await there.head("a")) as reader:
            await tell(here, "a", range(10))
            await reader.until(lambda it: len(it.got) == 10)
            redis.ask("FLUSHALL")
            await there.publish("a", b"10")  # it does not know where the channel was
            await reader.until(lambda it: it.too_old)
            assert numbers(reader.got) == list(range(10))


async def test_an_evicted_channel_is_noticed_by_whoever_follows_it(redis):
    """Nothing is ever told on it again: the reader has to look by itself."""
    async with pair(redis) as (here, there):
        async with follower(there, "a", await there.head("a")) as reader:
            redis.ask("DEL", "codeact:bus:0:a")
            await reader.until(lambda it: it.too_old)


async def test_more_than_may_wait_is_given_up_and_readers_start_over(redis):
    async with pair(redis, waiting_bytes=20_000) as (here, there):
        async with follower(there, "a", await there.head("a")) as reader:
            await tell(here, "a", range(10))
            await reader.until(lambda it: len(it.got) == 10)
            redis.crash()
            await reader.until(lambda it: it.states[-1] is False)
            await tell(here, "a", range(10, 5000))
            assert here._writer._size <= 20_000
            redis.start()
            await reader.until(lambda it: it.too_old)
            assert numbers(reader.got) == list(range(len(reader.got)))
        await here._writer.sent("a", here._writer.newest("a") or "0-0")
        head = await there.head("a")
        await tell(here, "a", range(5))
        async with aclosing(there.follow("a", head)) as batches:
            got: list[bytes] = []
            async with asyncio.timeout(WAIT_S):
                while numbers(got)[-5:] != list(range(5)):
                    got += [entry.data for entry in await anext(batches)]


async def test_from_the_oldest_on_requests_are_heard_also_across_what_was_given_up(redis):
    async with pair(redis, waiting_bytes=2_000) as (here, there):
        async with follower(there, "a", await there.head("a")) as reader:
            await tell(here, "a", range(3))
            await reader.until(lambda it: len(it.got) == 3)
            redis.freeze()
            await tell(here, "a", range(3, 200))
            redis.thaw()
            await reader.until(lambda it: it.too_old)
        async with follower(there, "a", OLDEST) as reader:
            await reader.until(lambda it: numbers(it.got)[-1:] == [199])
            await tell(here, "a", range(200, 203))
            await reader.until(lambda it: numbers(it.got)[-3:] == [200, 201, 202])
            assert numbers(reader.got)[:3] == [0, 1, 2] and len(reader.got) < 203 and not reader.too_old


async def test_a_full_redis_is_said_in_words_and_forgotten_when_there_is_room(redis):
    async with pair(redis) as (here, there):
        async with follower(there, "a", await there.head("a")) as reader:
            redis.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
            redis.ask("CONFIG", "SET", "maxmemory", "1")
            await tell(here, "a", range(10))
            async with asyncio.timeout(WAIT_S):
                while (await here.check()).ok:
                    await asyncio.sleep(0.05)
            assert "maxmemory" in (await here.check()).words
            redis.ask("CONFIG", "SET", "maxmemory", "0")
            await reader.until(lambda it: len(it.got) == 10)
            async with asyncio.timeout(WAIT_S):
                while not (await here.check()).ok:
                    await asyncio.sleep(0.05)


async def test_connections_cut_again_and_again_lose_and_repeat_nothing(redis, monkeypatch):
    monkeypatch.setattr(redis_writer, "AGAIN_S", 0.01)
    async with pair(redis) as (here, there):
        async with follower(there, "a", await there.head("a")) as reader:
            for n in range(0, 1000, 10):
                await tell(here, "a", range(n, n + 10))
                if n % 100 == 50:
                    redis.ask("CLIENT", "KILL", "TYPE", "pubsub" if n % 200 == 50 else "normal")
                await asyncio.sleep(0.005)
            await reader.until(lambda it: len(it.got) >= 1000 or it.too_old)
            assert numbers(reader.got) == list(range(1000)) and not reader.too_old


async def test_a_server_starts_without_redis_and_works_once_it_is_there(redis):
    redis.crash()
    async with pair(redis) as (here, there):
        assert not (await here.check()).ok
        early = await here.head("a")
        waiting = asyncio.ensure_future(anext(there.follow("a", early)))
        cursors = await tell(here, "a", range(10))
        redis.start()
        with pytest.raises(TooOld):  # nobody can know what was told before
            await asyncio.wait_for(waiting, WAIT_S)
        async with asyncio.timeout(WAIT_S):
            while not await _good(there, "a", cursors[0]):
                await asyncio.sleep(0.05)
        async with asyncio.timeout(WAIT_S):
            while not (await here.check()).ok:
                await asyncio.sleep(0.05)


async def test_closing_does_not_wait_for_a_redis_that_is_away(redis):
    bus = await bus_redis.create(redis.url(0))
    redis.freeze()
    try:
        await tell(bus, "a", range(10))
        async with asyncio.timeout(10):
            await bus.close()
    finally:
        redis.thaw()
