"""200 chats that stream at once, 20 tokens a second each: what a token costs on its way, in time and in CPU, against one
chat that has the server to itself. The model's tokens say when they left it. All of it shares one machine."""

from __future__ import annotations

import asyncio
import itertools

from tests.bench._load import cpu_us, in_groups, streamed, team
from tests.bench.harness import Chat, child, middle, quantile, report

NAMES = ("load_200_streams", "load_200_streams_cpu")
CHATS, PEOPLE = 200, 20
RATE = 20
SECONDS = 10
TOKENS = RATE * SECONDS
ROUNDS = 3  # the first is thrown away
WINDOW_S = 6.0


async def measure() -> None:
    one_p95, many_p95, one_cpu, many_cpu = [], [], [], []
    async with (
        child("tests.bench._stamped", str(TOKENS), str(RATE)) as (url, _),
        team(url, PEOPLE) as (served, sessions),
    ):
        whose = itertools.cycle(sessions)
        chats = await in_groups(CHATS, lambda: Chat.open(served, next(whose)))
        for n in range(ROUNDS):
            alone, cpu_alone = await round_of(chats[:1], served.process.pid)
            all_of_them, cpu_of_all = await round_of(chats, served.process.pid)
            if n:
                one_p95.append(quantile(alone, 0.95))
                many_p95.append(quantile(all_of_them, 0.95))
                one_cpu.append(cpu_alone)
                many_cpu.append(cpu_of_all)
        for chat in chats:
            chat.close()
    report("load_200_streams_one", middle(one_p95), "ms at p95", samples=one_p95)
    ratio = middle(many_p95) / middle(one_p95)
    report("load_200_streams", middle(many_p95), "ms at p95", against="one chat", ratio=ratio, samples=many_p95)
    ratio = middle(many_cpu) / middle(one_cpu)
    report("load_200_streams_cpu", middle(many_cpu), "µs/token", against="one chat", ratio=ratio, samples=many_cpu)


async def round_of(chats: list[Chat], pid: int) -> tuple[list[float], float]:
    """One answer for each: how long its tokens were on their way (ms), but those of the first and the last second, when all
    begin and end at once, which people do not; and CPU per token while all flow (µs)."""
    streams = [asyncio.create_task(streamed(chat)) for chat in chats]
    await asyncio.sleep(1.5)
    before = cpu_us(pid)
    await asyncio.sleep(WINDOW_S)
    spent = cpu_us(pid) - before
    assert not any(stream.done() for stream in streams), "the window is longer than the streams"
    found = await asyncio.gather(*streams)
    assert all(len(delays) == TOKENS for delays in found), "tokens were lost"
    await asyncio.sleep(1)  # what a turn does after its end
    return [delay for delays in found for delay in delays[RATE:-RATE]], spent / (RATE * WINDOW_S * len(chats))
