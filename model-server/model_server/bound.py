"""Runs a command in this process group and ends the whole group when the parent ends, however it ends.

    python -m model_server.bound PARENT COMMAND…

The kernel's parent-death signal alone is not enough: it reaches one process, and vLLM's engine outlives its API server when
that is killed, with the GPU's memory in hand.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

PR_SET_PDEATHSIG = 1


def main() -> int:
    """The command's status; 128 + the signal's number where one ended it."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    signal.signal(signal.SIGHUP, _end_all)
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGHUP)
    if os.getppid() != parent:  # it ended before we asked
        return 1
    try:
        child = subprocess.Popen(command)  # noqa: S603 (the plan's own command)
    except OSError as error:
        print(f"{command[0]} cannot be started: {error.strerror}", file=sys.stderr)
        return 127
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: child.send_signal(number))
    status = child.wait()
    end_rest()
    return status if status >= 0 else 128 - status


def end_rest() -> None:
    """Kills what the command has left in this group: an engine without its API server serves nobody, and would keep our
    output open."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, fields = int(stat.parent.name), stat.read_text().rpartition(")")[2].split()
            if pid != os.getpid() and int(fields[2]) == os.getpgrp():
                os.kill(pid, signal.SIGKILL)
        except OSError:  # it has ended meanwhile
            continue


def _end_all(_: int, __: FrameType | None) -> None:
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
