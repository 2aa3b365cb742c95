"""Keeps a workspace to its size.

A directory of the host's file system has no quota that could be set without preparing that file system. So the size is
looked at every few seconds. At the limit, every process in the sandbox loses the right to make files longer: writing fails
with "File too large", the kernel lives, and deleting files restores it. What goes on growing nevertheless ends the sandbox.
"""

from __future__ import annotations

import asyncio
import os
import resource
import time
from contextlib import suppress
from pathlib import Path

from executor.sandbox.running import Running
from executor.sandbox.workspace import DIRECTORY, Size, measure

LOOK_S = 2.0
SHARE = 20  # a look may take one part in so many of a thread's time
GRACE = 1.25
MOST_ENTRIES = 300_000
MIB = 1024**2


async def guard(sandbox: Running, tree: Path) -> None:
    """Watches the workspace `tree` until cancelled."""
    directory = os.open(tree, DIRECTORY)
    try:
        while True:
            began = time.monotonic()
            size = await asyncio.to_thread(measure, directory)
            act(sandbox, size)
            await asyncio.sleep(max(LOOK_S, SHARE * (time.monotonic() - began)))
    finally:
        os.close(directory)


def act(sandbox: Running, size: Size) -> None:
    limit = sandbox.limits.workspace
    sandbox.workspace_used = size.used
    if size.used > limit * GRACE:
        sandbox.end(f"its workspace grew to {size.used // MIB} MiB; {limit // MIB} MiB are allowed")
    elif size.entries > MOST_ENTRIES or size.too_deep:
        sandbox.end(f"its workspace has too many files or too deep directories ({size.entries} names)")
    else:
        allow_files(sandbox, 0 if size.used > limit else sandbox.limits.file_size)


def allow_files(sandbox: Running, length: int) -> None:
    """Sets how long the tenant's processes may make a file. Only the soft limit: the hard one could not be given back."""
    for pid in sandbox.tenant_pids():
        with suppress(ProcessLookupError, PermissionError, ValueError):
            soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            if soft != length:
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (length, hard))
