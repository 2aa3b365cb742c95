"""What a sandbox leaves behind when nobody ends it properly, and clearing it away.

Processes are found by a mark on their command line, cgroups by their name. Both follow from the sandbox's name and from
this executor's run directory, so that nothing has to have been written down to be found, however early its maker was
killed. What a record says is never a reason to kill.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from executor.sandbox import process, record
from executor.sandbox.base import SandboxUnavailable
from executor.sandbox.cgroups import PREFIX, Place, gone_within
from executor.sandbox.identity import runner_id
from executor.sandbox.place import mounts

IN_USE = "Another executor is running with the run directory {path}. Stop it, or set another data directory."
KILL_S = 5.0
ABANDONED_S = 60.0
ETC = "etc"


def lock(run_dir: Path) -> int:
    """Makes the run directory this process's own for as long as the descriptor is open. Raises SandboxUnavailable when it
    is another's."""
    run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    run_dir.chmod(0o700)
    fd = os.open(run_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise SandboxUnavailable(IN_USE.format(path=run_dir)) from None
    return fd


def group_name(run_dir: Path, id: str) -> str:
    """A cgroup's name that no other executor on this machine uses."""
    return f"{runner_id(run_dir)}-{id}"


def mark(run_dir: Path, id: str) -> str:
    """What the processes of a sandbox are called on this machine."""
    return f"{PREFIX}-{group_name(run_dir, id)}"


def sandboxes(run_dir: Path) -> list[Path]:
    """The directories of all sandboxes, whole or not."""
    return [path for path in run_dir.iterdir() if path.is_dir() and path.name.partition(".")[0] != ETC]


def noted_cgroups(run_dir: Path, id: str, facts: Any) -> dict[str, Path]:
    """The cgroups that a sandbox's record names, by controller, as far as they can be its own: they may be elsewhere than
    this life of the executor would make them."""
    noted = facts.get("cgroups") if isinstance(facts, dict) else None
    points = [mount.point for mount in mounts(Path("/proc/self/mountinfo").read_text()).values()]
    found = {str(name): Path(str(path)) for name, path in noted.items()} if isinstance(noted, dict) else {}
    own = mark(run_dir, id)
    return {name: path for name, path in found.items() if path.name == own and inside(path, points)}


def inside(path: Path, points: list[Path]) -> bool:
    return ".." not in path.parts and any(path.is_relative_to(point) for point in points)


def sweep(run_dir: Path, place: Place | None, keep: Collection[str] = ()) -> None:
    """Clears away all that bears this executor's mark but the sandboxes to `keep`, whether they still have a directory or
    not. Call it with the lock held and before making any. Blocks."""
    parents = list(place.parents.values()) if place else []
    for parent in parents:
        remove_abandoned(parent)
    kept, ours = {mark(run_dir, id) for id in keep}, mark(run_dir, "")
    process.end_marked(lambda word: word.startswith(ours) and word not in kept, KILL_S)
    gone_within([path for parent in parents for path in parent.glob(f"{ours}*") if path.name not in kept], KILL_S)
    for directory in [path for path in sandboxes(run_dir) if path.name not in keep]:
        note = record.read(directory)
        noted = noted_cgroups(run_dir, directory.name, note.facts) if note else {}
        remove(run_dir, directory.name, place, noted.values())
    if not keep:
        for path in run_dir.glob(f"{ETC}.*"):  # of earlier lives, in use by the sandboxes they left
            shutil.rmtree(path, ignore_errors=True)


def remove(run_dir: Path, id: str, place: Place | None, noted: Collection[Path] = ()) -> None:
    """Removes a sandbox's cgroups, those `noted` as well as those where they are made now, and its directory. Blocks."""
    gone_within([parent / mark(run_dir, id) for parent in place.parents.values()] if place else [], KILL_S)
    with suppress(OSError, ValueError):  # a record can name what no cgroup can be called
        gone_within(list(noted), KILL_S)
    shutil.rmtree(run_dir / id, ignore_errors=True)


def remove_abandoned(parent: Path) -> None:
    """Removes sandboxes' cgroups that have long been empty: of executors whose run directory is no more. (One that has only
    just been made is empty for a moment, too.)"""
    for path in parent.glob(f"{PREFIX}-*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED_S:
                path.rmdir()
