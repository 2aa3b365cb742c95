"""CPU of the orchestrator per token that it relays to a browser, many chats at once, against a bare asyncio relay."""

from __future__ import annotations

import asyncio

from tests.bench.harness import Chat, Socket, child, cpu_s, middle, product, report

NAMES = ("cpu_us_per_token", "cpu_us_per_token_relay")
STREAMS = 100
RATE = 50
SECONDS = 6
ROUNDS = 4  # the first is thrown away
TOKENS = RATE * SECONDS


async def relayed(sockets: list[Socket]) -> None:
    """All tokens through the bare relay."""

    async def one(socket: Socket) -> None:
        socket.send(type="go")
        frame, count = b"", 0
        while b"[DONE]" not in frame:
            frame = await socket.frame()
            count += frame.count(b'"content":')
        assert count == TOKENS + 1  # the first says whose message it is

    await asyncio.gather(*(one(socket) for socket in sockets))


async def told(chats: list[Chat]) -> None:
    """All tokens through the product."""

    async def one(chat: Chat) -> None:
        chat.say("go")
        closed = await chat.closed()
        assert b'"answered"' in closed, closed

    await asyncio.gather(*(one(chat) for chat in chats))


async def measure() -> None:
    script = ("--script", "flat", "--tokens", str(TOKENS), "--rate", str(RATE))
    async with (
        child("tests.support.model_server", *script) as (url, _),
        child("tests.bench._relay", url) as (relay_url, relay),
        product(url, module="tests.bench._relay_only", CODEACT_KERNEL_URL="none://") as served,
    ):
        sockets = [await Socket.connect(relay_url) for _ in range(STREAMS)]
        chats = [await Chat.open(served) for _ in range(STREAMS)]
        ours, bare = [], []
        for n in range(ROUNDS):
            before = cpu_s(relay)
            await relayed(sockets)
            between = cpu_s(served.process.pid)
            floor = cpu_s(relay) - before
            await told(chats)
            if n:
                bare.append(floor * 1e6 / (STREAMS * TOKENS))
                ours.append((cpu_s(served.process.pid) - between) * 1e6 / (STREAMS * TOKENS))
        for socket in sockets + [chat.socket for chat in chats]:
            socket.close()
    report("cpu_us_per_token_relay", middle(bare), "µs", samples=bare)
    report(
        "cpu_us_per_token",
        middle(ours),
        "µs",
        against=f"bare asyncio relay, {STREAMS} streams of {RATE} tokens/s",
        ratio=middle(ours) / middle(bare),
        samples=ours,
    )
