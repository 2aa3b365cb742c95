"""What it costs that a turn's events go through Redis: from publishing to the reader, and CPU per entry under load.

Both ends live in this process, with connections of their own; Redis is another process on a Unix socket.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from orchestrator.adapters import bus_redis
from orchestrator.adapters.bus_memory import MemoryBus
from orchestrator.adapters.bus_redis import RedisBus
from orchestrator.ports import Bus
from tests.bench.harness import middle, report
from tests.support.redis import server

NAMES = ("bus_redis", "bus_redis_ping", "bus_redis_cpu")
ROUNDS = 5
ENTRIES = 100
APART_S = 0.01  # one chat at 100 tokens/s
CHATS = 100
EVENT = b'{"type":"text.delta","turn":"0123456789abcdef0123456789abcdef","step":0,"offset":1234,"text":" word"}'


async def measure() -> None:
    memory = MemoryBus()
    with server() as redis:
        here, there = [await bus_redis.create(redis.url(0)) for _ in range(2)]
        try:
            await _latency(memory, here, there)
            await _cpu(memory, here, there)
        finally:
            await here.close()
            await there.close()


async def _latency(memory: MemoryBus, here: RedisBus, there: RedisBus) -> None:
    ours: list[float] = []
    theirs: list[float] = []
    pings: list[float] = []
    for number in range(ROUNDS + 1):  # in turns; the first is thrown away
        local = await _delays(memory, memory, f"a{number}")
        remote = await _delays(here, there, f"a{number}")
        ping = await _pings(here)
        if number:
            theirs += local
            ours += remote
            pings += ping
    us = [one * 1e6 for one in ours]
    for name, others, words in (("bus_redis", theirs, "the bus in memory"), ("bus_redis_ping", pings, "one PING")):
        against = f"{words}, {middle(others) * 1e6:.0f} µs"
        report(name, middle(us), "µs", against=against, ratio=middle(ours) / middle(others), samples=us)


async def _delays(here: Bus, there: Bus, channel: str) -> list[float]:
    """Seconds from publishing each entry until a reader has it."""
    told: list[float] = []
    delays: list[float] = []

    async def read() -> None:
        async with aclosing(there.follow(channel, head)) as batches:
            async for batch in batches:
                now = time.perf_counter()
                delays.extend(now - told[len(delays) + i] for i in range(len(batch)))
                if len(delays) >= ENTRIES:
                    return

    head = await there.head(channel)
    reader = asyncio.create_task(read())
    await asyncio.sleep(0.2)
    for _ in range(ENTRIES):
        told.append(time.perf_counter())
        await here.publish(channel, EVENT)
        await asyncio.sleep(APART_S)
    await reader
    return delays


async def _pings(bus: RedisBus) -> list[float]:
    taken: list[float] = []
    for _ in range(ENTRIES):
        begun = time.perf_counter()
        await bus.check()
        taken.append(time.perf_counter() - begun)
        await asyncio.sleep(APART_S)
    return taken


async def _cpu(memory: MemoryBus, here: RedisBus, there: RedisBus) -> None:
    """CHATS channels at once, each with a reader: CPU of this process per entry, publishing and reading."""
    ours: list[float] = []
    theirs: list[float] = []
    for number in range(ROUNDS + 1):
        local = await _spent(lambda n=number: _load(memory, memory, f"c{n}"))
        remote = await _spent(lambda n=number: _load(here, there, f"c{n}"))
        if number:
            theirs.append(local)
            ours.append(remote)
    us = [one * 1e6 / (CHATS * ENTRIES) for one in ours]
    against = f"the bus in memory, {middle(theirs) * 1e6 / (CHATS * ENTRIES):.1f} µs"
    report("bus_redis_cpu", middle(us), "CPU µs/entry", against=against, ratio=middle(ours) / middle(theirs), samples=us)


async def _spent(work: Callable[[], Awaitable[None]]) -> float:
    begun = time.process_time()
    await work()
    return time.process_time() - begun


async def _load(here: Bus, there: Bus, name: str) -> None:
    heads = [await there.head(f"{name}-{n}") for n in range(CHATS)]

    async def read(n: int) -> None:
        count = 0
        async with aclosing(there.follow(f"{name}-{n}", heads[n])) as batches:
            async for batch in batches:
                count += len(batch)
                if count >= ENTRIES:
                    return

    async def write(n: int) -> None:
        await asyncio.sleep(0.05 * n / CHATS)  # not in step with each other
        for _ in range(ENTRIES):
            await here.publish(f"{name}-{n}", EVENT)
            await asyncio.sleep(0.05)  # 20 tokens/s

    readers = [asyncio.create_task(read(n)) for n in range(CHATS)]
    await asyncio.gather(*(write(n) for n in range(CHATS)), *readers)
