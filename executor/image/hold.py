"""How long the tenant's files may get, set anew for every process that runs: `POST /hold {"length": bytes}`.

The executor asks for it again and again while a workspace is full, and takes it back once there is room. Only the soft
limit is set: the hard one could not be given back. A cell can raise its own again; then the executor ends the sandbox once
the workspace is far too large.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import suppress

INIT = 1
PASSES = 8  # a process that is forked meanwhile has its parent's limit, old or new


def tenants() -> Iterator[int]:
    """Every process of this pid namespace but its first and this one."""
    yield from {int(name) for name in os.listdir("/proc") if name.isdigit()} - {INIT, os.getpid()}  # noqa: PTH208


def hold(length: int) -> None:
    """Sets the limit of all of them to `length` bytes."""
    for _ in range(PASSES):
        if not [pid for pid in tenants() if set_length(pid, length)]:
            return


def set_length(pid: int, length: int) -> bool:
    """Whether the process `pid` had another limit."""
    with suppress(ProcessLookupError, PermissionError):
        soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        wanted = length if hard == resource.RLIM_INFINITY else min(length, hard)
        if soft != wanted:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (wanted, hard))
            return True
    return False
