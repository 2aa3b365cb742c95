"""Finding out where this process may make cgroups: where they are mounted, which is its own, and whether it works."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from executor.sandbox.base import Limits
from executor.sandbox.cgroups import ACCOUNT, CONTROLLERS, Group, Place

JOIN = 'for procs; do echo 0 > "$procs" || exit 1; done'


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
    """With CPU time counted where that can be had: nothing but a figure is lost without."""
    for names in ((*CONTROLLERS, ACCOUNT), CONTROLLERS):
        parents = {name: here(name, points, paths) for name in names if name in points}
        usable = {name: parent for name, parent in parents.items() if os.access(parent, os.W_OK)}
        place = Place(1, usable)
        if "memory" in usable and works(place):
            return place
    return None


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
    joined = subprocess.run(["/bin/sh", "-c", JOIN, "join", *group.procs_files()], stderr=subprocess.DEVNULL, check=False)  # noqa: S603
    return group.remove(1.0) and joined.returncode == 0
