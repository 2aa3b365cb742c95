"""Keeps a workspace to its size.

A directory of the host's file system has no quota that could be set without preparing that file system. So the size is
looked at every few seconds. At the limit, every process in the sandbox loses the right to make files longer: writing fails
with "File too large", the kernel lives, and deleting files restores it. What goes on growing nevertheless ends the sandbox.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Protocol

from executor.sandbox.base import Limits
from executor.sandbox.workspace import DIRECTORY, Size, measure

LOOK_S = 2.0
SHARE = 20  # looking may take one part in so many of a core
GRACE = 1.25
MOST_ENTRIES = 300_000
MIB = 1024**2


class Guarded(Protocol):
    """What a backend's sandbox lets the guard do."""

    workspace_used: int | None

    @property
    def limits(self) -> Limits: ...

    def end(self, cause: str) -> None:
        """Kills without waiting; the sandbox's `wait` then says `cause`."""
        ...

    async def hold(self, length: int) -> None:
        """Sets how long the tenant's processes may make a file, in bytes; again at every look, for those that are new."""
        ...


async def guard(sandbox: Guarded, tree: Path) -> None:
    """Watches the workspace `tree` until cancelled."""
    directory = os.open(tree, DIRECTORY)
    held = False
    try:
        while True:
            size, spent = await asyncio.to_thread(look, directory)
            if words := beyond_help(size, sandbox.limits.workspace):
                sandbox.end(words)
            full = size.used > sandbox.limits.workspace
            if full or held:
                await sandbox.hold(0 if full else sandbox.limits.file_size)
            held, sandbox.workspace_used = full, size.used
            await asyncio.sleep(max(LOOK_S, SHARE * spent))
    finally:
        os.close(directory)


def look(directory: int) -> tuple[Size, float]:
    """The size, and the CPU seconds it took to find out."""
    began = time.thread_time()
    return measure(directory), time.thread_time() - began


def beyond_help(size: Size, limit: int) -> str:
    """Why the sandbox has to end; empty when it has not."""
    if size.used > limit * GRACE:
        return f"its workspace grew to {size.used // MIB} MiB; {limit // MIB} MiB are allowed"
    if size.entries > MOST_ENTRIES or size.too_deep:
        return f"its workspace has too many files or too deep directories ({size.entries} names)"
    return ""
