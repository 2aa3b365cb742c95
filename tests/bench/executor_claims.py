"""A new conversation's first output: from a warm sandbox, and from nothing; and what an idle sandbox holds."""

from __future__ import annotations

import asyncio
import os

from tests.bench._service import Service, service
from tests.bench.harness import middle, quantile, report

NAMES = ("warm_claim", "idle_sandbox", "idle_sandbox_claim")
ROUNDS = 20
COLD_ROUNDS = 6
MANY = int(os.environ.get("BENCH_SANDBOXES", "100"))
WARM_S = 30.0  # for the pool to fill again between two claims


async def measure() -> None:
    cold = await _cold()
    warm = await _warm()
    cold_ms = middle(cold) * 1000
    report(
        "warm_claim",
        middle(warm) * 1000,
        "ms",
        against=f"a cold sandbox, {cold_ms:.0f} ms",
        ratio=middle(warm) * 1000 / cold_ms,
        samples=[one * 1000 for one in warm],
    )
    await _idle(quantile(warm, 0.5))


async def _cold() -> list[float]:
    taken: list[float] = []
    async with service(CODEACT_SANDBOX_WARM="0") as ours:
        for number in range(COLD_ROUNDS + 1):
            first, _, _ = await ours.run(f"cold-{number}", "print('x')")
            await ours.kernel.remove(f"cold-{number}")
            if number:
                taken.append(first)
    return taken


async def _warm() -> list[float]:
    taken: list[float] = []
    async with service(CODEACT_SANDBOX_WARM="1", CODEACT_SANDBOX_MAX="4") as ours:
        for number in range(ROUNDS + 1):
            await pool_is_full(ours, 1)
            first, _, _ = await ours.run(f"warm-{number}", "print('x')")
            await ours.kernel.remove(f"warm-{number}")
            if number:
                taken.append(first)
    return taken


async def _idle(alone: float) -> None:
    """MANY idle sandboxes at a time: what the cgroup of each counts, and whether a claim takes as long as before."""
    async with service(CODEACT_SANDBOX_MAX=str(MANY + 4), CODEACT_SANDBOX_WARM="1", CODEACT_SANDBOX_PREIMPORT="") as ours:
        for number in range(MANY):
            await ours.run(f"idle-{number}", "print('x')")
        used = [(await ours.kernel.status(f"idle-{number}")).memory_used or 0 for number in range(MANY)]
        claims: list[float] = []
        for number in range(5):
            await pool_is_full(ours, 1)
            first, _, _ = await ours.run(f"late-{number}", "print('x')")
            await ours.kernel.remove(f"late-{number}")
            claims.append(first)
    sizes = [one / 2**20 for one in used]
    report("idle_sandbox", middle(sizes), "MiB", against=f"nothing: {MANY} idle at a time", samples=sizes)
    mine = [one * 1000 for one in claims]
    against = f"a warm claim on an empty machine, {alone * 1000:.1f} ms"
    report("idle_sandbox_claim", middle(mine), "ms", against=against, ratio=middle(mine) / 1000 / alone, samples=mine)


async def pool_is_full(ours: Service, size: int) -> None:
    """Until the pool says that so many are ready."""
    async with asyncio.timeout(WARM_S):
        while await ours.pool_depth() < size:
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    asyncio.run(measure())
