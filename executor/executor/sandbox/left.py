"""What a sandbox leaves when the executor is killed, and clearing it away: its directory tells which processes and cgroups
were its own. The processes are dead already (they die with their parent); this makes sure."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

from executor.sandbox.base import SandboxUnavailable
from executor.sandbox.cgroups import PREFIX, Place, gone_within

IDENTITY = "sandbox.json"
IN_USE = "Another executor is running with the run directory {path}. Stop it, or set another data directory."
KILL_S = 5.0
ABANDONED_S = 60.0


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
    return f"{hashlib.sha256(str(run_dir).encode()).hexdigest()[:12]}-{id}"


def write(directory: Path, place: Place | None, group: str, pid: int | None = None) -> None:
    """Says whose `directory` is, before anything else is made; again with `pid` once bubblewrap runs."""
    paths = [str(parent / f"{PREFIX}-{group}") for parent in place.parents.values()] if place else []
    identity = {"cgroups": paths, "pid": pid, "started": started(pid) if pid else None}
    new = directory / f"{IDENTITY}.new"
    new.touch(mode=0o600)
    new.write_text(json.dumps(identity))
    new.replace(directory / IDENTITY)


def started(pid: int) -> str | None:
    """When the process was started, in the kernel's ticks: tells it from a later one with the same number."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return None


def sweep(run_dir: Path, place: Place | None) -> None:
    """Clears away every sandbox named in `run_dir`. Call it with the lock held and before making any. Blocks."""
    for parent in place.parents.values() if place else ():
        remove_abandoned(parent)
    for directory in [path for path in run_dir.iterdir() if path.is_dir() and path.name != "etc"]:
        remove(directory)


def remove_abandoned(parent: Path) -> None:
    """Removes sandboxes' cgroups that have long been empty: of executors whose run directory is no more. (One that has only
    just been made is empty for a moment, too.)"""
    for path in parent.glob(f"{PREFIX}-*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED_S:
                path.rmdir()


def remove(directory: Path) -> None:
    """Ends what `directory` says belongs to it, and removes it. Blocks."""
    with suppress(OSError, ValueError):
        clear(json.loads((directory / IDENTITY).read_text()))
    shutil.rmtree(directory, ignore_errors=True)


def clear(identity: dict[str, object]) -> None:
    pid = identity["pid"]
    if isinstance(pid, int) and started(pid) == identity["started"]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    paths = identity["cgroups"]
    if isinstance(paths, list):
        gone_within([Path(path) for path in paths if Path(path).name.startswith(PREFIX)], KILL_S)
