"""Processes of sandboxes, held so that a number the kernel gives out anew never leads to somebody else's.

Whether a process was started by this executor or by an earlier life of it makes no difference here: its end shows on its
pidfd either way. Only its exit status is for its parent alone.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

LOOK_S = 0.01
ARGUMENTS = 6  # among so many of a command line's first the mark is looked for


class Held:
    """One process. Raises ProcessLookupError when there is none with this number."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._fd = os.pidfd_open(pid)
        self.started = started(pid)
        self._status: int | None = None

    def alive(self) -> bool:
        if self._fd < 0:
            return False
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return not poll.poll(0)

    def kill(self) -> None:
        if self._fd >= 0:
            with suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(self._fd, signal.SIGKILL)

    async def ended(self) -> int | None:
        """Waits for its end: its exit status, or minus the signal that ended it; None when only another may know. For one
        waiter."""
        if self.alive():
            loop, end = asyncio.get_running_loop(), asyncio.Event()
            loop.add_reader(self._fd, end.set)
            try:
                await end.wait()
            finally:
                loop.remove_reader(self._fd)
        self._reap()
        return self._status

    def _reap(self) -> None:
        """A child of this process stays in the table until it is asked for. A grandchild is one, too, once its parent is
        gone and this process is the first of its container."""
        if self._fd < 0:
            return
        with suppress(ChildProcessError):
            found = os.waitid(os.P_PIDFD, self._fd, os.WEXITED | os.WNOHANG)
            if found is not None:
                self._status = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def close(self) -> None:
        if self._fd >= 0:
            self._reap()
            os.close(self._fd)
            self._fd = -1


def again(pid: int, start: str) -> Held | None:
    """The process `pid`, if it is the one that was started then and it lives."""
    try:
        held = Held(pid)
    except (OSError, OverflowError, ValueError):
        return None
    if held.started == start and held.alive():
        return held
    held.close()
    return None


def stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the third on. Raises OSError."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def started(pid: int) -> str:
    """When the process was started, in the kernel's ticks: tells it from a later one with the same number. Empty when there
    is none."""
    with suppress(OSError):
        return stat(pid)[19]
    return ""


def parent(pid: int) -> int:
    """0 when there is no such process."""
    with suppress(OSError):
        return int(stat(pid)[1])
    return 0


def user(pid: int) -> int | None:
    """The user a process runs as; None when it is gone."""
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("Uid:")).split()[1])
    return None


def children(pid: int) -> list[int]:
    """The processes started by any thread of `pid`; none when it is gone."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def marks(pid: int) -> list[str]:
    """The first words of a process's command line; none when it is gone."""
    with suppress(OSError):
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
        return [os.fsdecode(word) for word in line.split(b"\0")[:ARGUMENTS]]
    return []


def marked(ours: Callable[[str], bool]) -> Iterator[Held]:
    """Every process that bears a mark of ours. (One of a tenant's that pretends to is welcome to.)"""
    for pid in [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]:
        if not any(map(ours, marks(pid))):
            continue
        try:
            held = Held(pid)
        except OSError:
            continue
        if any(map(ours, marks(pid))):  # still the same one
            yield held
        else:
            held.close()


def end_marked(ours: Callable[[str], bool], within_s: float) -> bool:
    """Kills them all; False when some still live after `within_s`. Blocks."""
    deadline = time.monotonic() + within_s
    while found := list(marked(ours)):
        for held in found:
            held.kill()
            held.close()
        if time.monotonic() >= deadline:
            return False
        time.sleep(LOOK_S)
    return True
