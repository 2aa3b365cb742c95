"""What a long conversation costs after 10, 100 and 1,000 turns: its next turn, its page, its memory, and its first turn of
a server that was started anew. No code is run (`turns_growth` does), and the model answers at once."""

from __future__ import annotations

import time

from tests.bench._load import memory_kib, relay
from tests.bench.harness import Chat, Socket, child, middle, page, report, token_of
from tests.support.process import Served

NAMES = ("history_growth", "history_growth_page", "history_growth_memory", "history_growth_anew")
AT = (10, 100, 1000)
BLOCK = 10
TOKENS = 40


async def turn_ms(chat: Chat) -> float:
    """From the message to the first word."""
    begun = time.perf_counter()
    chat.say("And the next thing that I would like to know: how many are there, and what do they weigh?")
    await chat.socket.until(b'"type":"text.delta"')
    took = time.perf_counter() - begun
    closed = await chat.closed()
    assert b'"answered"' in closed, closed
    return took * 1000


async def page_ms(served: Served, conversation: str) -> float:
    begun = time.perf_counter()
    await page(served, conversation)
    return (time.perf_counter() - begun) * 1000


async def measure() -> None:
    turns: dict[int, list[float]] = {}
    pages: dict[int, list[float]] = {}
    memory: dict[int, int] = {}
    anew: dict[int, float] = {}
    script = ("--script", "flat", "--tokens", str(TOKENS), "--no-cache", "--keep", "1")
    async with child("tests.support.model_server", *script) as (url, _), relay(url) as served:
        chat = await Chat.open(served)
        done = 0
        for at in AT:
            while done < at - BLOCK:
                await turn_ms(chat)
                done += 1
            turns[at] = [await turn_ms(chat) for _ in range(BLOCK)]
            done += BLOCK
            pages[at] = [await page_ms(served, chat.conversation) for _ in range(BLOCK)]
            memory[at] = memory_kib(served.process.pid)
            chat.close()
            await served.interrupt()
            await served.start()
            chat = await follow(served, chat.conversation)
            anew[at] = await turn_ms(chat)
            done += 1
        chat.close()
    few = AT[0]
    for at in AT[1:]:
        name = "history_growth" if at == AT[-1] else f"history_growth_{at}"
        ratio = middle(turns[at]) / middle(turns[few])
        report(name, middle(turns[at]), f"ms at turn {at}", against=f"turn {few}", ratio=ratio, samples=turns[at])
    many = AT[-1]
    ratio = middle(pages[many]) / middle(pages[few])
    report("history_growth_page", middle(pages[many]), "ms", against=f"{few} turns", ratio=ratio, samples=pages[many])
    report("history_growth_memory", (memory[many] - memory[few]) / (many - few), "KiB per turn")
    ratio = anew[many] / anew[few]
    report("history_growth_anew", anew[many], "ms", against=f"{few} turns", ratio=ratio)


async def follow(served: Served, conversation: str) -> Chat:
    """The same conversation from a server that has been started anew."""
    cursor = (await page(served, conversation))["cursor"]
    socket = await Socket.connect(served.url, token_of(served))
    socket.send(type="subscribe", conversation=conversation, cursor=cursor)
    await socket.until(b'"type":"subscribed"')
    return Chat(socket, conversation, served)
