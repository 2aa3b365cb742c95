"""How many cores are idle, so that the model takes those and no more. llama.cpp waits by spinning: a thread too many
makes all of them slow."""

from __future__ import annotations

import os
import time
from pathlib import Path

SAMPLE_S = 0.7
SAMPLES = 3
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")  # cgroup v2
CFS = Path("/sys/fs/cgroup/cpu")  # cgroup v1


def threads() -> int:
    """Idle cores of those this process may use, at least 1. Measured, not taken from the load average, which still
    remembers the build that came before; and again where something was busy, which may have been a blip."""
    allowed = os.sched_getaffinity(0)
    most = min(len(allowed), quota(len(allowed)))
    found = 1
    for _ in range(SAMPLES):
        found = max(found, min(round(idle_cores(allowed)), most))
        if found == most:
            break
    return found


def idle_cores(allowed: set[int], over_s: float = SAMPLE_S) -> float:
    """How much of the allowed cores nobody used, in cores."""
    before = _idle_ticks(allowed)
    begun = time.monotonic()
    time.sleep(over_s)
    ticks = _idle_ticks(allowed) - before
    return ticks / os.sysconf("SC_CLK_TCK") / (time.monotonic() - begun)


def quota(cores: int) -> int:
    """Whole cores that a container's CPU limit leaves, `cores` where there is no limit."""
    try:
        limit, period = _limit()
    except (OSError, ValueError):
        return cores
    return max(1, int(limit / period)) if limit > 0 and period > 0 else cores


def _limit() -> tuple[int, int]:
    if CPU_MAX.exists():
        limit, period = CPU_MAX.read_text().split()
        return (-1 if limit == "max" else int(limit)), int(period)
    return int((CFS / "cpu.cfs_quota_us").read_text()), int((CFS / "cpu.cfs_period_us").read_text())


def _idle_ticks(allowed: set[int]) -> int:
    """idle + iowait of the allowed cores, in clock ticks."""
    total = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, _, rest = line.partition(" ")
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in allowed:
            numbers = rest.split()
            total += int(numbers[3]) + int(numbers[4])
    return total
