"""A thousand browsers that are open and do nothing: what each costs in memory, what all cost in CPU, and whether one chat
beside them notices. And what a chat that streams costs in memory, beside one that does not."""

from __future__ import annotations

import asyncio
import time

from tests.bench._load import cpu_us, in_groups, memory_kib, relay, streamed, team
from tests.bench.harness import Chat, child, middle, report

NAMES = ("idle_1000", "idle_1000_active", "idle_1000_first_word", "idle_1000_cpu")
IDLE = 1000
ACTIVE = 100
RATE, SECONDS = 20, 8
ASKED = 60
WINDOW_S = 10.0


async def first_word_ms(chat: Chat) -> float:
    begun = time.perf_counter()
    chat.say("go")
    await chat.socket.until(b'"type":"text.delta"')
    took = time.perf_counter() - begun
    await chat.closed()
    await asyncio.sleep(0.02)
    return took * 1000


async def answering(chat: Chat) -> None:
    """A page that nobody uses answers the server's pings, and reads what is told of the list."""
    while True:
        await chat.socket.frame()


async def measure() -> None:
    async with (
        child("tests.support.model_server", "--script", "flat", "--tokens", "8", "--no-cache") as (quick, _),
        team(quick, 2) as (served, (asking, others)),
    ):
        pid, chat = served.process.pid, await Chat.open(served, asking)
        first = [await first_word_ms(chat) for _ in range(ASKED)][10:]
        before = memory_kib(pid)
        pages: list[asyncio.Task[None]] = []

        async def one_more() -> Chat:
            opened = await Chat.open(served, others)
            pages.append(asyncio.create_task(answering(opened)))
            return opened

        idle = await in_groups(IDLE, one_more)
        each = (memory_kib(pid) - before) / IDLE
        await asyncio.sleep(1)
        spent = cpu_us(pid)
        await asyncio.sleep(WINDOW_S)
        cpu = (cpu_us(pid) - spent) / WINDOW_S / 1e6
        beside = [await first_word_ms(chat) for _ in range(ASKED)][10:]
        assert not any(page.done() for page in pages), "the server hung up on somebody"
        for page in pages:
            page.cancel()
        for one in (*idle, chat):
            one.close()
    report("idle_1000", each, "KiB per idle chat")
    report("idle_1000_cpu", cpu * 100, "% of a core, all of them")
    ratio = middle(beside) / middle(first)
    report("idle_1000_first_word", middle(beside), "ms", against="one chat alone", ratio=ratio, samples=beside)
    active = await active_kib()
    report("idle_1000_active", active, "KiB per streaming chat", against="an idle one", ratio=active / each)


async def active_kib() -> float:
    """Memory that a chat takes while it streams, beyond the server's own: connection, turn, and what is retained of it."""
    async with (
        child("tests.bench._stamped", str(RATE * SECONDS), str(RATE)) as (url, _),
        relay(url) as served,
    ):
        await streamed(first := await Chat.open(served))
        before = memory_kib(served.process.pid)
        chats = await in_groups(ACTIVE, lambda: Chat.open(served))
        streams = [asyncio.create_task(streamed(chat)) for chat in chats]
        await asyncio.sleep(SECONDS * 0.75)
        each = (memory_kib(served.process.pid) - before) / ACTIVE
        assert not any(stream.done() for stream in streams)
        await asyncio.gather(*streams)
        for chat in (*chats, first):
            chat.close()
    return each
