"""Sets how long the files of some processes may get: `python -I -S hold.py UID LENGTH PID…` (UID `-` to stay who one is).

Only a process of the same user may do that (or one with CAP_SYS_RESOURCE, which even root may lack), so this is a program
of its own that becomes the sandbox's user. Only the soft limit is set: the hard one could not be given back.
"""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress


def hold(length: int, pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError, ValueError):
        soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        if soft != length:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (length, hard))


def main(uid: str, length: str, *pids: str) -> None:
    if uid != "-":
        os.setgroups([])
        os.setresgid(int(uid), int(uid), int(uid))
        os.setresuid(int(uid), int(uid), int(uid))
    for pid in pids:
        hold(int(length), int(pid))


if __name__ == "__main__":
    main(*sys.argv[1:])
