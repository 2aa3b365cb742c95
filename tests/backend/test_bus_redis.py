"""The bus over Redis: what is kept and for how long, whose cursors are good, what it costs, who is let in."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, asynccontextmanager

import pytest

from orchestrator.adapters import bus_redis, redis_reader
from orchestrator.adapters.redis_entries import Ids, position
from orchestrator.errors import BadSetting
from orchestrator.ports import TooOld
from tests.support.redis import server


@asynccontextmanager
async def buses(url: str, count: int = 1, **bounds):
    """That many processes' buses, as far as Redis can tell."""
    made = [await bus_redis.create(url, **bounds) for _ in range(count)]
    try:
        yield made
    finally:
        for bus in made:
            await bus.close()


async def read(batches, count: int) -> list[bytes]:
    got: list[bytes] = []
    async with asyncio.timeout(20):
        while len(got) < count:
            got += [entry.data for entry in await anext(batches)]
    return got


async def until(wanted) -> None:
    async with asyncio.timeout(20):
        while not await wanted():
            await asyncio.sleep(0.02)


async def test_one_process_tells_and_another_hears(redis):
    async with buses(redis.url(), 2) as (here, there):
        head = await there.head("a")
        cursors = [await here.publish("a", str(n).encode()) for n in range(50)]
        async with aclosing(there.follow("a", head)) as batches:
            assert await read(batches, 50) == [str(n).encode() for n in range(50)]
        async with aclosing(there.follow("a", cursors[30])) as batches:
            assert await read(batches, 19) == [str(n).encode() for n in range(31, 50)]
        assert await there.head("a") == cursors[-1]


async def test_any_bytes_arrive_as_they_were(redis):
    told = [b"", b"\x00\xff\n,\r\n", bytes(range(256)) * 40, "🙂".encode(), b"x" * 300_000]
    async with buses(redis.url(), 2) as (here, there):
        head = await there.head("a")
        async with aclosing(there.follow("a", head)) as batches:
            await anext(batches)
            for data in told:
                await here.publish("a", data)
            assert await read(batches, len(told)) == told
        async with aclosing(there.follow("a", head)) as batches:
            assert await read(batches, len(told)) == told


async def test_databases_of_one_redis_do_not_hear_each_other(redis):
    async with buses(redis.url()) as (one,), buses(redis.url()) as (other,):
        async with aclosing(other.follow("a", await other.head("a"))) as batches:
            await anext(batches)
            await one.publish("a", b"not yours")
            await other.publish("a", b"yours")
            assert await read(batches, 1) == [b"yours"]


async def test_a_channel_is_bounded_in_bytes_and_its_oldest_cursors_are_too_old(redis):
    url = redis.url()
    async with buses(url, 2, channel_bytes=256 * 1024) as (here, there):
        cursors = []
        for n in range(400):
            cursors.append(await here.publish("a", f"{n:>10}".encode() * 1000))
            await here._writer.sent("a", cursors[-1])
        database = url.partition("db=")[2]
        assert int(redis.ask("-n", database, "MEMORY", "USAGE", f"codeact:bus:{database}:a")) < 600 * 1024
        with pytest.raises(TooOld):
            await anext(there.follow("a", cursors[0]))
        async with aclosing(there.follow("a", cursors[380])) as batches:
            assert [int(data[:10]) for data in await read(batches, 19)] == list(range(381, 400))


async def test_a_slow_reader_misses_nothing_that_is_retained_and_holds_up_nobody(redis, monkeypatch):
    monkeypatch.setattr(redis_reader, "FEED_BYTES", 20_000)
    async with buses(redis.url(), 2) as (here, there):
        head = await there.head("a")
        async with aclosing(there.follow("a", head)) as slow, aclosing(there.follow("a", head)) as quick:
            await anext(slow)
            await anext(quick)
            for n in range(2000):
                await here.publish("a", f"{n:>100}".encode())
            assert [int(data) for data in await read(quick, 2000)] == list(range(2000))
            feed = there._reader._feeds["a"]
            assert feed._size <= 20_000 + 500 * 400  # the last batch, and what is kept besides
            assert [int(data) for data in await read(slow, 2000)] == list(range(2000))


async def test_a_reader_slower_than_what_is_retained_is_told(redis, monkeypatch):
    monkeypatch.setattr(redis_reader, "FEED_BYTES", 10_000)
    async with buses(redis.url(), 2, channel_bytes=100_000) as (here, there):
        async with aclosing(there.follow("a", await there.head("a"))) as batches:
            await anext(batches)
            for _ in range(60):
                last = await here.publish("a", b"x" * 10_000)
                await here._writer.sent("a", last)
            await until(lambda: _knows(there, last))
            with pytest.raises(TooOld):
                while True:
                    await anext(batches)


async def _knows(bus, cursor: str) -> bool:
    return bus._reader._feeds["a"].newest == cursor


async def test_two_publishers_on_one_channel_are_heard_in_one_order_by_all(redis):
    async with buses(redis.url(), 3) as (one, other, reader):
        head = await reader.head("a")

        async def tell(bus, name: str) -> None:
            for n in range(200):
                await bus.publish("a", f"{name}{n}".encode())
                await asyncio.sleep(0)

        async with aclosing(reader.follow("a", head)) as here, aclosing(one.follow("a", head)) as there:
            _, _, heard, also = await asyncio.gather(tell(one, "x"), tell(other, "y"), read(here, 400), read(there, 400))
        assert heard == also
        for name in (b"x", b"y"):
            assert [data for data in heard if data[:1] == name] == [name + str(n).encode() for n in range(200)]


async def test_a_publisher_whose_clock_is_behind_still_gives_good_cursors(redis):
    async with buses(redis.url(), 3) as (ahead, behind, reader):
        ahead._writer.ids.seen(f"{int(time.time() * 1000) + 3_600_000}-0")
        first = await ahead.publish("a", b"1")
        await ahead._writer.sent("a", first)
        promised = await behind.publish("a", b"2")
        assert position(promised) < position(first)
        await behind._writer.sent("a", promised)
        await behind.publish("a", b"3")
        async with aclosing(reader.follow("a", promised)) as batches:
            assert await read(batches, 1) == [b"3"]
        async with aclosing(reader.follow("a", first)) as batches:
            assert await read(batches, 2) == [b"2", b"3"]


def test_ids_only_grow_whatever_the_clock_does(monkeypatch):
    ids, now = Ids(), 1_700_000_000.0
    given = []
    for step in (0, 0, 1, -500, 2, 0.0001, -0.5):
        now += step
        monkeypatch.setattr(time, "time", lambda now=now: now)
        given.append(position(ids.next()))
    ids.seen("1900000000000-77777777")
    given += [(1_900_000_000_000, 77777777), position(ids.next())]
    assert given == sorted(set(given))


@pytest.mark.parametrize("cursor", ["18446744073709551616-0", "1-99999999999999999999", "1", "a-b", "1-1-1", "١-١", "+-1"])
async def test_what_is_no_cursor_of_ours_is_too_old(redis, cursor):
    async with buses(redis.url()) as (bus,):
        await bus.publish("a", b"1")
        with pytest.raises(TooOld):
            await anext(bus.follow("a", cursor))


async def test_many_followed_channels_need_few_connections():
    with server() as redis:
        async with buses(redis.url(), 2) as (here, there):
            heads = [await there.head(f"c{n}") for n in range(200)]
            followers = [there.follow(f"c{n}", head) for n, head in enumerate(heads)]
            await asyncio.gather(*(anext(batches) for batches in followers))
            for n in range(200):
                await here.publish(f"c{n}", str(n).encode())
            heard = await asyncio.gather(*(read(batches, 1) for batches in followers))
            assert heard == [[str(n).encode()] for n in range(200)]
            connections = [line for line in redis.ask("CLIENT", "LIST").splitlines() if "cmd=client" not in line]
            assert len(connections) <= 2 * (2 + 4)
            for batches in followers:
                await batches.aclose()
            await until(lambda: _channels(redis, 2))  # each process listens on one of its own


async def _channels(redis, count: int) -> bool:
    return sum(int(line) for line in redis.ask("PUBSUB", "NUMSUB", "codeact:bus:0:").splitlines()[1::2]) == count and (
        len(redis.ask("PUBSUB", "CHANNELS").splitlines()) == 1
    )


async def test_idle_channels_expire_and_followed_ones_do_not(redis):
    url = redis.url()
    database = url.partition("db=")[2]
    async with buses(url, 2, idle_s=600) as (here, there):
        for channel in ("idle", "followed"):
            await here.publish(channel, b"1")
        async with aclosing(there.follow("followed", await here.head("followed"))) as batches:
            await anext(batches)
            for channel in ("idle", "followed"):
                assert 500 < int(redis.ask("-n", database, "TTL", f"codeact:bus:{database}:{channel}")) <= 600
                redis.ask("-n", database, "EXPIRE", f"codeact:bus:{database}:{channel}", "60")

            async def prolonged() -> bool:
                return int(redis.ask("-n", database, "TTL", f"codeact:bus:{database}:followed")) > 500

            await until(prolonged)
            assert int(redis.ask("-n", database, "TTL", f"codeact:bus:{database}:idle")) <= 60


async def test_a_channel_that_expired_begins_again_where_its_head_is_asked_for(redis):
    async with buses(redis.url(), 2) as (here, there):
        old = await here.publish("a", b"1")
        await here._writer.sent("a", old)
        redis.ask("-n", str(here._link.database), "DEL", f"codeact:bus:{here._link.database}:a")
        head = await there.head("a")
        async with aclosing(there.follow("a", head)) as batches:
            assert await anext(batches) == []
            await here.publish("a", b"2")
            assert await read(batches, 1) == [b"2"]


async def test_what_was_published_is_sent_before_the_bus_is_closed(redis):
    url = redis.url()
    async with buses(url) as (reader,):
        head = await reader.head("a")
        async with buses(url) as (bus,):
            for n in range(1000):
                await bus.publish("a", str(n).encode())
        async with aclosing(reader.follow("a", head)) as batches:
            assert len(await read(batches, 1000)) == 1000


# ---- who is let in ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("login", ["", "default:not-it@", "somebody:s3cret@"])
async def test_a_wrong_password_is_refused_at_start_in_words_without_it(login):
    with server("--requirepass", "right-one") as redis:
        with pytest.raises(BadSetting) as refused:
            await bus_redis.create(redis.url(0, login))
        assert "CODEACT_BUS_URL" in refused.value.words and "refuses" in refused.value.words
        for secret in ("not-it", "s3cret", "right-one"):
            assert secret not in refused.value.words
        async with buses(redis.url(0, "default:right-one@")) as (bus,):
            assert (await bus.check()).ok


async def test_a_password_that_was_changed_meanwhile_is_said_in_words():
    with server() as redis:
        async with buses(redis.url(0)) as (bus,):
            redis.ask("CONFIG", "SET", "requirepass", "other")
            redis.ask("-a", "other", "--no-auth-warning", "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            redis.ask("-a", "other", "--no-auth-warning", "CLIENT", "KILL", "TYPE", "pubsub")

            async def said() -> bool:
                return "CODEACT_BUS_URL" in (await bus.check()).words

            await until(said)
            assert "refuses" in (await bus.check()).words


@pytest.mark.parametrize("url", ["redis://:pass-word@host:port/0", "redis://:pass-word@[::1/0", "redis://h:99999/0"])
async def test_an_address_that_is_none_is_refused_without_its_password(url):
    with pytest.raises(BadSetting) as refused:
        await bus_redis.create(url)
    assert "CODEACT_BUS_URL" in refused.value.words and "pass-word" not in refused.value.words
