"""The way to a gateway's socket, which lies in a directory that its sandbox can write to until the gateway answers.

A tenant might put something else in the socket's place: a link to another socket of the host, say the engine's own. So the
name is looked up once, without following links, before any cell runs; what was found is held by its descriptor, and every
connection goes through that. Once the gateway answers, the directory belongs to the executor alone.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from executor.sandbox.base import SandboxUnavailable

SOCKET = "gateway.sock"


def held(directory: Path, owner: int) -> int:
    """A descriptor of the gateway's socket in `directory`. `owner` is the sandbox's user as the host counts. Raises
    FileNotFoundError while there is none, SandboxUnavailable when it is not what the gateway makes."""
    fd = os.open(directory / SOCKET, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    status = os.fstat(fd)
    if not stat.S_ISSOCK(status.st_mode) or status.st_uid != owner:
        os.close(fd)
        raise SandboxUnavailable("What lies in the place of the sandbox's socket is none of its gateway's.")
    return fd


def path(fd: int) -> str:
    """A name that leads to the held socket and nowhere else. Raises SandboxUnavailable when it is held no longer."""
    if fd < 0 or not stat.S_ISSOCK(os.fstat(fd).st_mode):
        raise SandboxUnavailable("The sandbox has ended.")
    return f"/proc/self/fd/{fd}"


def close_to_tenant(directory: Path) -> None:
    """From now on the tenant can neither see nor change what lies in `directory`. (The gateway needs it no more: it listens
    already.)"""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchown(fd, os.geteuid(), os.getegid())
        os.fchmod(fd, 0o700)
    finally:
        os.close(fd)
