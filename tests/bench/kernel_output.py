"""100 MB on stdout: how long it takes against a stock ipykernel, whether every byte is accounted for, and what it costs in
this process's memory."""

from __future__ import annotations

import asyncio
import gc

import psutil

from tests.bench._kernels import bare, ours
from tests.bench.harness import middle, report

NAMES = ("stdout_100mb", "stdout_100mb_memory")
ROUNDS = 5
CODE = "line = 'x' * 1023\nfor _ in range(100_000): print(line)"
SIZE = 102_400_000


async def measure() -> None:
    theirs: list[float] = []
    mine: list[float] = []
    grown: list[float] = []
    async with bare() as stock, ours() as product:
        for number in range(ROUNDS + 1):
            _, plain, got = await stock.run(CODE)
            assert got == SIZE, got
            async with _Peak() as peak:
                _, whole, got = await product.run(CODE)
            assert got == SIZE, got
            if number:
                theirs.append(plain)
                mine.append(whole)
                grown.append(peak.grown / 1e6)
    against = f"stock ipykernel, {middle(theirs):.2f} s"
    report("stdout_100mb", middle(mine), "s", against=against, ratio=middle(mine) / middle(theirs), samples=mine)
    report("stdout_100mb_memory", max(grown), "MB", against="what this process held before", samples=grown)


class _Peak:
    """The most that this process's memory grew during a block."""

    async def __aenter__(self) -> _Peak:
        gc.collect()
        self._process = psutil.Process()
        self._before = self._most = self._process.memory_info().rss
        self._task = asyncio.create_task(self._sample())
        return self

    async def _sample(self) -> None:
        while True:
            self._most = max(self._most, self._process.memory_info().rss)
            await asyncio.sleep(0.01)

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    @property
    def grown(self) -> int:
        return self._most - self._before


if __name__ == "__main__":
    asyncio.run(measure())
