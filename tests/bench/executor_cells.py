"""What a cell costs through the executor as a service, against `jupyter_client` on a bare local kernel."""

from __future__ import annotations

import time

import psutil

from tests.bench._kernels import Bare, bare
from tests.bench._service import Service, service
from tests.bench.harness import middle, report, report_ratios

NAMES = ("executor_round_trip", "executor_throughput", "executor_throughput_display", "executor_memory")
ROUNDS = 200
LARGE_ROUNDS = 5
PRINTS = "line = 'x' * 99\nfor _ in range(100_000): print(line)"  # 10 MB
PRINTED = 10_000_000
ARRAY = (  # 20 MB of floats in four displays, as images are shown: each the base64 of its bytes
    "import base64, numpy\nfrom IPython.display import publish_display_data\n"
    "data = numpy.arange(2_500_000, dtype='f8')\n"
    "for part in numpy.split(data, 4):\n"
    "    publish_display_data({'application/x-numpy': base64.b64encode(part.tobytes()).decode()})"
)
SHOWN = 4 * 4 * (5_000_000 // 3)


async def measure() -> None:
    async with bare() as stock, service(CODEACT_SANDBOX_OUTPUT_MB="64") as ours:
        await _round_trip(stock, ours)
        await _throughput(stock, ours)


async def _round_trip(stock: Bare, ours: Service) -> None:
    theirs: list[float] = []
    mine: list[float] = []
    for number in range(ROUNDS + 20):
        theirs.append((await stock.run("1"))[1])
        mine.append((await ours.run("bench", "1"))[1])
        if number == 19:
            theirs.clear()
            mine.clear()
    against = f"jupyter_client on a bare ipykernel, {middle(theirs) * 1000:.2f} ms (ours {middle(mine) * 1000:.2f} ms)"
    report_ratios("executor_round_trip", mine, theirs, against)


async def _throughput(stock: Bare, ours: Service) -> None:
    process = psutil.Process(ours.pid)
    before = process.memory_info().rss
    for name, code, size in (("executor_throughput", PRINTS, PRINTED), ("executor_throughput_display", ARRAY, SHOWN)):
        rates: list[float] = []
        for number in range(LARGE_ROUNDS + 1):
            plain, whole = await _times(stock, ours, code, size)
            if number:
                rates.append(plain / whole)
        report(
            name, middle(rates), "of theirs", against="the same through jupyter_client", ratio=middle(rates), samples=rates
        )
    grown = (process.memory_info().rss - before) / 1e6
    report("executor_memory", grown, "MB", against="what the executor held before both")


async def _times(stock: Bare, ours: Service, code: str, size: int) -> tuple[float, float]:
    begun = time.perf_counter()
    _, _, got = await stock.run(code)
    plain = time.perf_counter() - begun
    assert got >= size, got
    begun = time.perf_counter()
    _, _, got = await ours.run("bench", code)
    assert got >= size, got
    return plain, time.perf_counter() - begun


if __name__ == "__main__":
    import asyncio

    asyncio.run(measure())
