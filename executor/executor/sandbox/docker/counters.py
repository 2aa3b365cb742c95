"""What a container uses: from its cgroups where this process can see them, else from what the engine says now and then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from executor.sandbox import place
from executor.sandbox.base import Usage
from executor.sandbox.cgroups import ACCOUNT, Counters

V1 = ("memory", "pids", ACCOUNT)
Json = dict[str, Any]


def visible(pid: int, container: str, proc: Path = Path("/proc")) -> Counters | None:
    """The counters of the container whose first process is `pid` on the engine's host; None where they cannot be read. In
    another pid namespace than the engine's, `pid` is some other process: so the cgroup has to bear the container's name."""
    try:
        points = place.mounts((proc / "self/mountinfo").read_text())
        paths = place.own((proc / str(pid) / "cgroup").read_text())
    except OSError:
        return None
    named = {name: path for name, path in paths.items() if container in path}
    if "memory" in named and "memory" in points:
        found = {name: place.here(name, points, named) for name in V1 if name in points and name in named}
        return readable(Counters(1, found))
    if "all" in named and "all" in points:
        return readable(Counters(2, {"all": place.here("all", points, named)}))
    return None


def readable(counters: Counters) -> Counters | None:
    return counters if counters.usage().memory is not None else None


def told(stats: Json, oom_kills: int) -> Usage:
    """The engine's own figures. It does not count processes killed for memory; `oom_kills` are those it told of."""
    memory, cpu = stats.get("memory_stats") or {}, (stats.get("cpu_stats") or {}).get("cpu_usage") or {}
    spent = cpu.get("total_usage")
    return Usage(
        memory=memory.get("usage"),
        pids=(stats.get("pids_stats") or {}).get("current"),
        oom_kills=oom_kills,
        peak=memory.get("max_usage"),
        cpu_s=None if spent is None else spent / 1e9,
    )
