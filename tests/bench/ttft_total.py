"""The first token: from sending the user's message to the first frame with text, against asking the model server
itself over a connection of the same make. Everything is in it: the websocket, who may ask, the store, the request. The
model server simulates no prefix cache, whose own cost would grow with our conversation and not with the bare question."""

from __future__ import annotations

import asyncio
import time

from tests.bench.harness import Chat, Direct, child, middle, product, report

NAMES = ("ttft_total",)
ROUNDS = 200
WARM_UP = 20
TEXT = "How many primes are there below one hundred?"


async def direct_ms(model: Direct) -> float:
    begun = time.perf_counter()  # not after the write: the other side may answer before that returns
    model.ask([{"role": "user", "content": TEXT}])
    data = await model.until(b'"delta":{"content":')
    took = time.perf_counter() - begun
    if b"0\r\n\r\n" not in data:
        await model.until(b"0\r\n\r\n")
    return took * 1000


async def total_ms(chat: Chat) -> float:
    begun = time.perf_counter()
    chat.say(TEXT)
    await chat.socket.until(b'"type":"text.delta"')
    took = time.perf_counter() - begun
    await chat.closed()
    return took * 1000


async def measure() -> None:
    async with (
        child("tests.support.model_server", "--script", "flat", "--tokens", "8", "--no-cache") as (url, _),
        product(url) as served,
    ):
        model, chat = await Direct.connect(url), await Chat.open(served)
        await chat.warm()
        directs, totals = [], []
        for n in range(WARM_UP + ROUNDS):
            direct, total = await direct_ms(model), await total_ms(chat)
            await asyncio.sleep(0.02)  # nobody types faster; what a turn does after its end is not the next one's start
            if n >= WARM_UP:
                directs.append(direct)
                totals.append(total)
        model.close()
        chat.close()
    report("ttft_direct", middle(directs), "ms", samples=directs)
    report(
        "ttft_total",
        middle(totals),
        "ms",
        against="the same model server asked directly",
        ratio=middle(totals) / middle(directs),
        samples=totals,
    )
