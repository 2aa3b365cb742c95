"""What this sandbox uses, as its own cgroups say: `GET /usage`, for an executor that cannot see them from where it is.

A container's runtime mounts them at /sys/fs/cgroup. What is not there is null. The numbers are the kernel's, but they pass
through the tenant's own sandbox: whoever asks must not build anything on them but words and figures.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
FILES = {  # the places of each number: cgroups of version 2, then 1
    "memory": ("memory.current", "memory/memory.usage_in_bytes"),
    "peak": ("memory.peak", "memory/memory.max_usage_in_bytes"),
    "pids": ("pids.current", "pids/pids.current"),
}
FIELDS = {"oom_kills": (("memory.events", "oom_kill"), ("memory/memory.oom_control", "oom_kill"))}


def usage(root: Path = ROOT) -> dict[str, float | None]:
    """memory, peak (bytes), pids, oom_kills and cpu_s, each None where this sandbox has no such counter."""
    found: dict[str, float | None] = {name: first(number(root / file) for file in files) for name, files in FILES.items()}
    found |= {name: first(field(root / file, key) for file, key in places) for name, places in FIELDS.items()}
    micro, nano = field(root / "cpu.stat", "usage_usec"), number(root / "cpuacct/cpuacct.usage")
    found["cpu_s"] = micro / 1e6 if micro is not None else nano / 1e9 if nano is not None else None
    return found


def first(values: Iterable[int | None]) -> int | None:
    return next((value for value in values if value is not None), None)


def number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def field(path: Path, name: str) -> int | None:
    """The number after `name` in a file of "name number" lines."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((int(value) for key, _, value in (line.partition(" ") for line in lines) if key == name), None)
