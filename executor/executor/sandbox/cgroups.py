"""Limits and counters of one sandbox in the kernel's control groups, version 1 or 2, whichever this host has writable.

Version 2 keeps one directory per sandbox; version 1 one per controller. Both are made below the executor's own cgroup, so
that limits set on the executor from outside hold for its sandboxes too.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from executor.sandbox.base import Limits, Usage

PREFIX = "codeact"
PERIOD_US = 100_000
# Not there where the kernel does not account swap, or the cpu controller is not handed on.
OPTIONAL = ("memory.swap.max", "memory.memsw.limit_in_bytes", "memory.swappiness", "cpu.max")
CONTROLLERS = ("memory", "pids", "cpu")
ACCOUNT = "cpuacct"  # version 1 counts CPU time by a controller of its own, which limits nothing


@dataclass(frozen=True, slots=True)
class Place:
    """Where this executor may make cgroups: for version 2 one directory under the name "all"; for version 1 one per
    controller ("memory", "pids", "cpu"; those that are missing are not limited), and one for "cpuacct"."""

    version: int
    parents: dict[str, Path]

    def controllers(self) -> set[str]:
        """Those of CONTROLLERS that limit something here."""
        if self.version == 1:
            return set(self.parents) & set(CONTROLLERS)
        return set((self.parents["all"] / "cgroup.subtree_control").read_text().split()) & set(CONTROLLERS)


class Counters:
    """What the kernel counts in one sandbox's cgroups, which are at `paths`, by controller as in Place."""

    def __init__(self, version: int, paths: dict[str, Path]) -> None:
        self.version = version
        self.paths = paths

    def usage(self) -> Usage:
        memory, pids = self._directory("memory"), self._directory("pids")
        if self.version == 2:
            kills = field(memory, "memory.events", "oom_kill")
            current, peak = number(memory, "memory.current"), number(memory, "memory.peak")
            spent = seconds(field(memory, "cpu.stat", "usage_usec"), 1e6)
            return Usage(current, number(pids, "pids.current"), kills, peak=peak, cpu_s=spent)
        kills = field(memory, "memory.oom_control", "oom_kill")
        current, peak = number(memory, "memory.usage_in_bytes"), number(memory, "memory.max_usage_in_bytes")
        spent = seconds(number(self._directory(ACCOUNT), "cpuacct.usage"), 1e9)
        return Usage(current, number(pids, "pids.current"), kills, peak=peak, cpu_s=spent)

    def _directory(self, controller: str) -> Path | None:
        return self.paths.get("all" if self.version == 2 else controller)


class Group(Counters):
    """One sandbox's cgroups. Raises OSError when they cannot be made."""

    def __init__(self, place: Place, name: str, limits: Limits) -> None:
        super().__init__(
            place.version, {controller: parent / f"{PREFIX}-{name}" for controller, parent in place.parents.items()}
        )
        try:
            for path in self.paths.values():
                path.mkdir(exist_ok=True)
            self._limit(limits)
        except OSError:
            self.remove()
            raise

    @classmethod
    def found(cls, version: int, paths: dict[str, Path]) -> Group:
        """Cgroups that an earlier life of the executor made; nothing about them is changed."""
        group = cls.__new__(cls)
        Counters.__init__(group, version, paths)
        return group

    def _limit(self, limits: Limits) -> None:
        for (controller, file), value in (v2_limits if self.version == 2 else v1_limits)(limits).items():
            if controller in self.paths:
                write(self.paths[controller] / file, value)

    def procs_files(self) -> list[str]:
        """The files a process writes "0" to, to join."""
        return [str(path / "cgroup.procs") for path in self.paths.values()]

    def remove(self, within_s: float = 0.0) -> bool:
        return gone_within(list(self.paths.values()), within_s)


def members(path: Path) -> list[int]:
    """The processes in the cgroup `path`, as this process's namespace counts them."""
    with suppress(OSError):
        return [int(line) for line in (path / "cgroup.procs").read_text().split() if line != "0"]
    return []


def kill(path: Path) -> None:
    """SIGKILL for everything in the cgroup `path`: at once where the kernel offers that, else one by one."""
    with suppress(OSError):
        if (path / "cgroup.kill").exists():
            (path / "cgroup.kill").write_text("1")
    for pid in members(path):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def gone_within(paths: list[Path], seconds: float) -> bool:
    """Removes the cgroups, killing what is in them; False when something still lives after `seconds`. Blocks."""
    deadline = time.monotonic() + seconds
    while not all([gone(path) for path in paths]):
        if time.monotonic() >= deadline:
            return False
        for path in paths:
            kill(path)
        time.sleep(0.005)
    return True


def write(path: Path, value: str) -> None:
    """Raises OSError when the file is not there, unless it is one of OPTIONAL. Never creates it: the kernel calls that a
    lack of permission."""
    try:
        with path.open("r+") as file:
            file.write(value)
    except FileNotFoundError:
        if path.name not in OPTIONAL:
            raise


def v2_limits(limits: Limits) -> dict[tuple[str, str], str]:
    return {
        ("all", "memory.max"): str(limits.memory),
        ("all", "memory.swap.max"): "0",
        ("all", "memory.oom.group"): "0",  # the kernel dies, the gateway lives to tell
        ("all", "pids.max"): str(limits.pids),
        ("all", "cpu.max"): f"{int(limits.cpus * PERIOD_US)} {PERIOD_US}",
    }


def v1_limits(limits: Limits) -> dict[tuple[str, str], str]:
    return {
        ("memory", "memory.limit_in_bytes"): str(limits.memory),
        ("memory", "memory.memsw.limit_in_bytes"): str(limits.memory),
        ("memory", "memory.swappiness"): "0",
        ("pids", "pids.max"): str(limits.pids),
        ("cpu", "cpu.cfs_period_us"): str(PERIOD_US),
        ("cpu", "cpu.cfs_quota_us"): str(int(limits.cpus * PERIOD_US)),
    }


def gone(path: Path) -> bool:
    try:
        path.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno == errno.EBUSY:
            return False
        raise
    return True


def read(path: Path) -> str:
    """A counter's file, in three system calls: these are read with every cell. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 65536).decode()
    finally:
        os.close(fd)


def number(directory: Path | None, file: str) -> int | None:
    with suppress(OSError, ValueError):
        return int(read(directory / file)) if directory else None
    return None


def field(directory: Path | None, file: str, name: str) -> int | None:
    """The number after `name` in a file of "name number" lines."""
    with suppress(OSError):
        for line in read(directory / file).splitlines() if directory else ():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return None


def seconds(count: int | None, per_second: float) -> float | None:
    return None if count is None else count / per_second
