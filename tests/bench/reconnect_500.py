"""The network is back: 500 browsers lost their connection at the same moment and come back at once, each to its place in
its conversation. How long that takes them, against one that comes back alone; and what a chat that streams notices."""

from __future__ import annotations

import asyncio
import time

from tests.bench._load import cpu_us, in_groups, streamed, team
from tests.bench.harness import Chat, Socket, child, middle, page, quantile, report
from tests.support.process import Served

NAMES = ("reconnect_500", "reconnect_500_all", "reconnect_500_cpu", "reconnect_500_stream")
BROWSERS = 500
RATE, SECONDS = 20, 12
ROUNDS = 3  # the first is thrown away
ALONE = 20


class Browser:
    """One that watches a conversation, and knows how far it has read."""

    def __init__(self, served: Served, session: str, chat: Chat, cursor: str) -> None:
        self._served, self._session, self._chat, self._cursor = served, session, chat, cursor

    def lose(self) -> None:
        """As a network does: nobody says good-bye."""
        self._chat.socket._writer.transport.abort()

    async def come_back_ms(self) -> float:
        """Until the server says that it goes on from there."""
        begun = time.perf_counter()
        self._chat.socket = await Socket.connect(self._served.url, self._session)
        self._chat.socket.send(type="subscribe", conversation=self._chat.conversation, cursor=self._cursor)
        found = await self._chat.socket.until(b'"type":"subscribed"', b'"type":"reset"', b'"type":"refused"')
        assert b'"type":"subscribed"' in found, found
        return (time.perf_counter() - begun) * 1000


async def measure() -> None:
    async with (
        child("tests.bench._stamped", str(RATE * SECONDS), str(RATE)) as (url, _),
        team(url, 2) as (served, (streaming, others)),
    ):

        async def browser() -> Browser:
            chat = await Chat.open(served, others)
            return Browser(served, others, chat, (await page(served, chat.conversation, token=others))["cursor"])

        browsers, chat = await in_groups(BROWSERS, browser), await Chat.open(served, streaming)
        alone = [await again(browsers[0]) for _ in range(ALONE)]
        calm = await streamed(chat)
        each: list[float] = []
        whole: list[float] = []
        during: list[float] = []
        cpu: list[float] = []
        for n in range(ROUNDS):
            stream = asyncio.create_task(streamed(chat))
            await asyncio.sleep(SECONDS / 4)
            for one in browsers:
                one.lose()
            begun, spent = time.perf_counter(), cpu_us(served.process.pid)
            took = await asyncio.gather(*(one.come_back_ms() for one in browsers))
            seconds = time.perf_counter() - begun
            spent = (cpu_us(served.process.pid) - spent) / BROWSERS / 1000
            delays = await stream
            if n:
                each, whole, during, cpu = each + took, [*whole, seconds], during + delays, [*cpu, spent]
        for one in browsers:
            one.lose()
        chat.close()
    report("reconnect_500_alone", middle(alone), "ms", samples=alone)
    ratio = middle(each) / middle(alone)
    report("reconnect_500", middle(each), "ms", against="one alone", ratio=ratio, samples=each)
    report("reconnect_500_all", middle(whole), "s until all are back", samples=whole)
    report("reconnect_500_cpu", middle(cpu), "CPU ms each", samples=cpu)
    late, usual = quantile(during, 0.95), quantile(calm, 0.95)
    report("reconnect_500_stream", late, "ms at p95", against="without a storm", ratio=late / usual, samples=during)


async def again(browser: Browser) -> float:
    browser.lose()
    return await browser.come_back_ms()
