"""Keeps a workspace to its size.

A directory of the host's file system has no quota that could be set without preparing that file system. So the size is
looked at every few seconds. At the limit, every process in the sandbox loses the right to make files longer: writing fails
with "File too large", the kernel lives, and deleting files restores it. What goes on growing nevertheless ends the sandbox.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from executor.sandbox.running import Running
from executor.sandbox.workspace import DIRECTORY, Size, measure

HOLD = Path(__file__).with_name("hold.py")
LOOK_S = 2.0
SHARE = 20  # looking may take one part in so many of a core
GRACE = 1.25
MOST_ENTRIES = 300_000
MIB = 1024**2


async def guard(sandbox: Running, tree: Path) -> None:
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
                await hold(sandbox, 0 if full else sandbox.limits.file_size)
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


async def hold(sandbox: Running, length: int) -> None:
    """Sets how long the tenant's processes may make a file; again at every look, for those that are new."""
    uid = "-" if sandbox.uid is None else str(sandbox.uid)
    pids = [str(pid) for pid in sandbox.tenant_pids()]
    process = await asyncio.create_subprocess_exec(sys.executable, "-I", "-S", str(HOLD), uid, str(length), *pids)
    await process.wait()
