"""Sandboxes made, used and removed many times over, and a burst of claims: is anything left?"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.bench._service import Service, service
from tests.bench.harness import report

NAMES = ("leak_cycles", "claim_burst")
CYCLES = int(os.environ.get("BENCH_CYCLES", "500"))
CLAIMS, CONVERSATIONS = 200, 50
AT_A_TIME = 2
GROUP = re.compile(r"codeact-[0-9a-f]{12}-")


async def measure() -> None:
    async with service(CODEACT_SANDBOX_WARM="0", CODEACT_SANDBOX_MAX="60") as ours:
        await _lanes(ours, "first", 20)  # its threads and connections are made as they are first needed
        before = held(ours)
        await _lanes(ours, "lane", CYCLES)
        await asyncio.sleep(2)
        after = held(ours)
        left = {name: after[name] - before[name] for name in before}
        told = ", ".join(f"{name} {count:+d}" for name, count in left.items())
        report("leak_cycles", sum(max(0, one) for one in left.values()), "left", against=f"before {CYCLES} cycles: {told}")
        await _burst(ours)


async def _lanes(ours: Service, name: str, cycles: int) -> None:
    await asyncio.gather(*(_cycle(ours, f"{name}-{lane}", cycles // AT_A_TIME) for lane in range(AT_A_TIME)))


async def _cycle(ours: Service, name: str, times: int) -> None:
    for number in range(times):
        await ours.run(f"{name}-{number}", "open('file', 'w').write('x'); print('x')")
        await ours.kernel.remove(f"{name}-{number}")


async def _burst(ours: Service) -> None:
    """Every conversation four times at once: one sandbox each."""
    names = [f"burst-{number % CONVERSATIONS}" for number in range(CLAIMS)]
    await asyncio.gather(*(ours.kernel.prepare(name) for name in names))
    states: list[str] = []
    async with asyncio.timeout(300):
        while states.count("idle") < CONVERSATIONS:
            await asyncio.sleep(0.5)
            states = [(await ours.kernel.status(name)).state for name in names[:CONVERSATIONS]]
    made = held(ours)["cgroups"]
    report(
        "claim_burst",
        made,
        "sandboxes",
        against=f"{CLAIMS} claims of {CONVERSATIONS} conversations",
        ratio=made / CONVERSATIONS,
    )


def held(ours: Service) -> dict[str, int]:
    """What there is on this machine of the executor's: counts by kind."""
    process = psutil.Process(ours.pid)
    sockets = [line for line in Path("/proc/net/unix").read_text().splitlines() if "gateway.sock" in line]
    return {
        "processes": len(process.children(recursive=True)),
        "descriptors": process.num_fds(),
        "threads": process.num_threads(),
        "mounts": len(Path(f"/proc/{ours.pid}/mountinfo").read_text().splitlines()),
        "cgroups": len({path.name for path in cgroups()}),
        "sockets": len(sockets),
        "directories": sum(1 for path in ours.data.rglob("*") if path.is_dir()),
    }


def cgroups() -> Iterator[Path]:
    """Sandboxes' cgroups of every executor on this machine; nothing else runs while this is measured."""
    root = Path("/sys/fs/cgroup")
    memory = root / "memory"
    for path in (memory if memory.is_dir() else root).rglob("codeact-*"):
        if path.is_dir() and GROUP.match(path.name):
            yield path


if __name__ == "__main__":
    asyncio.run(measure())
