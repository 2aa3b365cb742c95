"""The first output of a new conversation: the whole sandbox, gateway and kernel, in CPU seconds and by the clock."""

from __future__ import annotations

import asyncio
import os
import resource

from tests.bench._kernels import Ours, ours
from tests.bench.harness import cpu_tree_s, middle, report

NAMES = ("cold_first_output", "cold_first_output_wall")
ROUNDS = 6
FLOOR_S = 0.6 + 1.1  # of a stock gateway without its slowest import, and of a stock ipykernel, each measured alone


async def measure() -> None:
    cpu: list[float] = []
    wall: list[float] = []
    async with ours() as product:
        for number in range(ROUNDS + 1):
            before = cpu_tree_s(os.getpid()) + _of_ended()
            fresh = Ours(product.manager, f"cold-{number}")
            first, _, _ = await fresh.run("print('x')")
            spent = cpu_tree_s(os.getpid()) + _of_ended() - before
            await product.manager.remove(fresh.conversation)
            if number:
                cpu.append(spent)
                wall.append(first)
    against = f"a plain gateway and a plain kernel, {FLOOR_S} CPU-s"
    report("cold_first_output", middle(cpu), "CPU-s", against=against, ratio=middle(cpu) / FLOOR_S, samples=cpu)
    report("cold_first_output_wall", middle(wall), "s", against="nothing: gateway and kernel from scratch", samples=wall)


def _of_ended() -> float:
    """CPU seconds of children that have ended and been waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    asyncio.run(measure())
