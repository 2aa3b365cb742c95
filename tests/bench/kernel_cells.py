"""What one cell costs through our executor, against the same cell in a stock ipykernel driven by jupyter_client."""

from __future__ import annotations

from tests.bench._kernels import bare, ours
from tests.bench.harness import middle, report

NAMES = ("cell_first_byte", "cell_round_trip", "long_cell_first_byte")
ROUNDS = 200
LONG_ROUNDS = 12
LONG = "print('x')\nfor _ in range(10_000_000): pass"


async def measure() -> None:
    async with bare() as stock, ours() as product:
        await _short(stock, product)
        await _long(stock, product)


async def _short(stock, product) -> None:
    figures: dict[str, list[float]] = {"a first": [], "a whole": [], "b first": [], "b whole": []}
    for number in range(ROUNDS + 20):
        for name, side in (("a", stock), ("b", product)):
            first, whole, size = await side.run(f"print({number:05})" if number == 0 else "print('x')")
            assert size
            if number >= 20:
                figures[f"{name} first"].append(first * 1000)
                figures[f"{name} whole"].append(whole * 1000)
    for name, key in (("cell_first_byte", "first"), ("cell_round_trip", "whole")):
        theirs, mine = figures[f"a {key}"], figures[f"b {key}"]
        against = f"stock ipykernel, {middle(theirs):.2f} ms"
        report(name, middle(mine), "ms", against=against, ratio=middle(mine) / middle(theirs), samples=mine)


async def _long(stock, product) -> None:
    theirs: list[float] = []
    mine: list[float] = []
    for number in range(LONG_ROUNDS + 1):
        for side, samples in ((stock, theirs), (product, mine)):
            first, _, _ = await side.run(LONG)
            if number:
                samples.append(first * 1000)
    against = f"stock ipykernel, {middle(theirs):.1f} ms"
    report("long_cell_first_byte", middle(mine), "ms", against=against, ratio=middle(mine) / middle(theirs), samples=mine)


if __name__ == "__main__":
    import asyncio

    asyncio.run(measure())
