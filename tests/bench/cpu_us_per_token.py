"""CPU of the orchestrator per token that it relays to a browser, many chats at once, against a bare asyncio relay.

Measured while all streams flow: what opening and closing a turn costs is another figure (`turns`).
"""

from __future__ import annotations

import asyncio

from tests.bench.harness import Chat, Socket, child, cpu_s, middle, product, report

NAMES = ("cpu_us_per_token",)
STREAMS = 100
RATE = 50
SECONDS = 7
WINDOW_S = 4.0
ROUNDS = 4  # the first is thrown away
TOKENS = RATE * SECONDS


async def relayed(socket: Socket) -> None:
    """All tokens through the bare relay."""
    socket.send(type="go")
    frame, count = b"", 0
    while b"[DONE]" not in frame:
        frame = await socket.frame()
        count += frame.count(b'"content":')
    assert count == TOKENS + 1  # the first says whose message it is


async def told(chat: Chat) -> None:
    """All tokens through the product."""
    chat.say("go")
    closed = await chat.closed()
    assert b'"answered"' in closed, closed


async def cost_us(pid: int, streams: list[asyncio.Task[None]]) -> float:
    """CPU of a process per token while all streams flow; returns when they have ended."""
    await asyncio.sleep(1.5)
    before = cpu_s(pid)
    await asyncio.sleep(WINDOW_S)
    spent = cpu_s(pid) - before
    assert not any(stream.done() for stream in streams)
    await asyncio.gather(*streams)
    return spent * 1e6 / (STREAMS * RATE * WINDOW_S)


async def measure() -> None:
    script = ("--script", "flat", "--tokens", str(TOKENS), "--rate", str(RATE), "--no-cache")
    async with (
        child("tests.support.model_server", *script) as (url, _),
        child("tests.bench._relay", url) as (relay_url, relay),
        product(url, module="tests.bench._relay_only", CODEACT_KERNEL_URL="none://") as served,
    ):
        sockets = [await Socket.connect(relay_url) for _ in range(STREAMS)]
        chats = [await Chat.open(served) for _ in range(STREAMS)]
        ours, bare = [], []
        for n in range(ROUNDS):
            floor = await cost_us(relay, [asyncio.create_task(relayed(socket)) for socket in sockets])
            value = await cost_us(served.process.pid, [asyncio.create_task(told(chat)) for chat in chats])
            if n:
                bare.append(floor)
                ours.append(value)
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
