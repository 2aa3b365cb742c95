"""Turns itself into bubblewrap: the few steps between fork and exec that must happen in the new process.

Run as `python -I -S launch.py MARK PLAN` with PLAN a JSON object (`Plan`); nothing of this package is imported, so it
starts in some 10 ms. It joins the sandbox's cgroups, gives up root for a user id of the sandbox's own, asks to die with its
parent unless it is to survive it, and executes bubblewrap. MARK is for those who look for what an executor left.

The new user may not be able to reach what bubblewrap is to mount (/root and home directories are closed to others). So
while still root, in a mount namespace that vanishes with the sandbox, it mounts those directories below STAGE,
bubblewrap's own included.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from typing import TypedDict

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
CLONE_NEWNS = 0x20000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 0x2, 0x4, 0x1000, 0x4000, 0x40000
STAGE = "/tmp"  # noqa: S108  (as in argv.py)
libc = ctypes.CDLL(None, use_errno=True)


class Plan(TypedDict):
    """`uid` is None where the caller is not root; `stage` are directories, `keep` the descriptors bubblewrap inherits;
    `libraries` is where the program's libraries are, if not where it looks itself; `parent` is the caller's pid, or None
    when the sandbox may outlive it."""

    parent: int | None
    cgroups: list[str]
    uid: int | None
    stage: list[str]
    keep: list[int]
    program: str
    libraries: str | None
    argv: list[str]


def prctl(option: int, value: int) -> None:
    succeeded(libc.prctl(option, value, 0, 0, 0), f"prctl({option})")


def succeeded(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), what)


def mount(source: str, target: str, kind: str, flags: int) -> None:
    succeeded(libc.mount(source.encode(), target.encode(), kind.encode(), flags, None), target)


def make_stage(paths: list[str]) -> None:
    """Mounts the directories at STAGE/0, STAGE/1, …. They are opened first, since STAGE may cover some; and only in the new
    mount namespace, since a mount of another cannot be bound."""
    succeeded(libc.unshare(CLONE_NEWNS), "unshare")
    mount("none", "/", "none", MS_REC | MS_PRIVATE)
    fds = [os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW) for path in paths]
    mount("none", STAGE, "tmpfs", MS_NOSUID | MS_NODEV)
    for index, fd in enumerate(fds):
        os.mkdir(f"{STAGE}/{index}")  # noqa: PTH102
        mount(f"/proc/self/fd/{fd}", f"{STAGE}/{index}", "none", MS_BIND | MS_REC)
    os.chdir("/")


def join(cgroups: list[str]) -> None:
    for procs in cgroups:
        with open(procs, "w") as file:  # noqa: PTH123  (pathlib would cost a third of the start)
            file.write("0")


def become(uid: int) -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def die_with(parent: int) -> None:
    """After the change of user, which would reset it."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)  # it died before it could be watched


def close_all_but(keep: list[int]) -> None:
    """A directory of the host that stayed open would be a way out of the sandbox."""
    for low, high in zip([2, *sorted(keep)], [*sorted(keep), 65536], strict=True):
        os.closerange(low + 1, high)


def main() -> None:
    plan: Plan = json.loads(sys.argv[2])
    join(plan["cgroups"])
    if plan["uid"] is not None:
        make_stage(plan["stage"])
        become(plan["uid"])
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    if plan["parent"] is not None:
        die_with(plan["parent"])
    os.umask(0o022)
    close_all_but(plan["keep"])
    environment = {} if plan["libraries"] is None else {"LD_LIBRARY_PATH": plan["libraries"]}
    os.execve(plan["program"], plan["argv"], environment)  # noqa: S606


if __name__ == "__main__":
    main()
