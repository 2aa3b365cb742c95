"""Limits and counters of one sandbox in the kernel's control groups, version 1 or 2, whichever this host has writable.

Version 2 keeps one directory per sandbox; version 1 one per controller. Both are made below the executor's own cgroup, so
that limits set on the executor from outside hold for its sandboxes too.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from executor.sandbox.base import Limits, Usage

PREFIX = "codeact"
PERIOD_US = 100_000
JOIN = 'for procs; do echo 0 > "$procs" || exit 1; done'
# Not there where the kernel does not account swap, or the cpu controller is not handed on.
OPTIONAL = ("memory.swap.max", "memory.memsw.limit_in_bytes", "memory.swappiness", "cpu.max")
CONTROLLERS = ("memory", "pids", "cpu")


@dataclass(frozen=True, slots=True)
class Place:
    """Where this executor may make cgroups: for version 2 one directory under the name "all"; for version 1 one per
    controller ("memory", "pids", "cpu"; those that are missing are not limited)."""

    version: int
    parents: dict[str, Path]

    def controllers(self) -> set[str]:
        """Those of CONTROLLERS that limit something here."""
        if self.version == 1:
            return set(self.parents)
        return set((self.parents["all"] / "cgroup.subtree_control").read_text().split()) & set(CONTROLLERS)


class Group:
    """One sandbox's cgroups. Raises OSError when they cannot be made."""

    def __init__(self, place: Place, name: str, limits: Limits) -> None:
        self.version = place.version
        self.paths = {controller: parent / f"{PREFIX}-{name}" for controller, parent in place.parents.items()}
        try:
            for path in self.paths.values():
                path.mkdir(exist_ok=True)
            self._limit(limits)
        except OSError:
            self.remove()
            raise

    def _limit(self, limits: Limits) -> None:
        for (controller, file), value in (v2_limits if self.version == 2 else v1_limits)(limits).items():
            if controller in self.paths:
                write(self.paths[controller] / file, value)

    def procs_files(self) -> list[str]:
        """The files a process writes "0" to, to join."""
        return [str(path / "cgroup.procs") for path in self.paths.values()]

    def usage(self) -> Usage:
        memory, pids = self._directory("memory"), self._directory("pids")
        if self.version == 2:
            kills = field(memory, "memory.events", "oom_kill")
            return Usage(number(memory, "memory.current"), number(pids, "pids.current"), kills)
        kills = field(memory, "memory.oom_control", "oom_kill")
        return Usage(number(memory, "memory.usage_in_bytes"), number(pids, "pids.current"), kills)

    def _directory(self, controller: str) -> Path | None:
        return self.paths.get("all" if self.version == 2 else controller)

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


def number(directory: Path | None, file: str) -> int | None:
    with suppress(OSError, ValueError):
        return int((directory / file).read_text()) if directory else None
    return None


def field(directory: Path | None, file: str, name: str) -> int | None:
    """The number after `name` in a file of "name number" lines."""
    with suppress(OSError):
        for line in (directory / file).read_text().splitlines() if directory else ():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return None


class Mount(NamedTuple):
    """`root` is the cgroup, by its path in /proc/self/cgroup, that is seen at `point`."""

    point: Path
    root: str


def mounts(text: str) -> dict[str, Mount]:
    """From /proc/self/mountinfo: version 1 controllers and where they are mounted; version 2 under the name "all"."""
    found: dict[str, Mount] = {}
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        root, point = before.split(" ")[3:5]
        names = ["all"] if kind == "cgroup2" else options.rsplit(" ", 1)[-1].split(",") if kind == "cgroup" else []
        found.update((name, Mount(Path(point), root)) for name in names)
    return found


def own(text: str) -> dict[str, str]:
    """From /proc/self/cgroup: the own cgroup of each controller; version 2 under the name "all"."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        found.update((name, path) for name in (controllers.split(",") if controllers else ["all"]))
    return found


def here(name: str, points: dict[str, Mount], paths: dict[str, str]) -> Path:
    """The directory of the own cgroup."""
    mount = points[name]
    return mount.point / paths.get(name, "/").removeprefix(mount.root).lstrip("/")


def find(proc: Path = Path("/proc/self")) -> Place | None:
    """The place where cgroups with limits can be made here, tried for real; None when there is none."""
    try:
        points, paths = mounts((proc / "mountinfo").read_text()), own((proc / "cgroup").read_text())
    except OSError:
        return None
    return find_v2(points, paths) or find_v1(points, paths)


def find_v1(points: dict[str, Mount], paths: dict[str, str]) -> Place | None:
    parents: dict[str, Path] = {name: here(name, points, paths) for name in CONTROLLERS if name in points}
    usable = {name: parent for name, parent in parents.items() if os.access(parent, os.W_OK)}
    place = Place(1, usable)
    return place if "memory" in usable and works(place) else None


def find_v2(points: dict[str, Mount], paths: dict[str, str]) -> Place | None:
    """The nearest directory, from the own cgroup upwards, that hands the controllers on."""
    if "all" not in points:
        return None
    start = here("all", points, paths)
    for parent in (start, *start.parents):
        if not parent.is_relative_to(points["all"].point):
            break
        place = Place(2, {"all": parent})
        if os.access(parent, os.W_OK) and hands_on(parent) and works(place):
            return place
    return None


def hands_on(parent: Path) -> bool:
    """Whether children of `parent` have the memory and pids controllers; switched on where they are not and that is
    allowed. A directory with processes of its own may not hand any on."""
    control = parent / "cgroup.subtree_control"
    with suppress(OSError):
        for name in set(CONTROLLERS) - set(control.read_text().split()):
            with suppress(OSError):
                control.write_text(f"+{name}")
        return {"memory", "pids"} <= set(control.read_text().split())
    return False


def works(place: Place) -> bool:
    """Makes a group, has a process join it, and removes it again."""
    try:
        group = Group(place, f"probe-{os.getpid()}", Limits())
    except OSError:
        return False
    joined = subprocess.run(["/bin/sh", "-c", JOIN, "join", *group.procs_files()], stderr=subprocess.DEVNULL, check=False)
    return group.remove(1.0) and joined.returncode == 0
