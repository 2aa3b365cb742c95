"""Sandboxes with bubblewrap: namespaces, a root built from nothing, a system call filter, and cgroups where there are any.

A sandbox is one process tree below bubblewrap, which dies when this process does. What is on disk for it is one directory
in the run directory, readable by this user alone: the gateway's socket, and who it is (`sandbox.json`), so that a later
life of the executor can clear away what this one left.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
from pathlib import Path

from executor.sandbox import etc, left, place, seccomp
from executor.sandbox import workspace as workspaces
from executor.sandbox.base import Sandbox, SandboxUnavailable, Spec
from executor.sandbox.disk import guard
from executor.sandbox.making import Kit, make
from executor.sandbox.probe import examine
from executor.sandbox.programs import ask_python, find_bwrap
from executor.sandbox.running import Running
from executor.wire import Health

IDS = re.compile(r"[A-Za-z0-9_-]{1,64}")
UIDS = range(210_000, 265_000)  # host user ids of sandboxes, where this process is root
IMAGE = Path(__file__).resolve().parents[2] / "image"


class Bubblewrap:
    """The backend `bubblewrap`. `run_dir` holds what belongs to running sandboxes and must be this executor's alone;
    `python` is the interpreter that runs inside, of an environment with the kernel gateway and the libraries."""

    name = "bubblewrap"

    def __init__(self, run_dir: Path, python: Path) -> None:
        self.run_dir = run_dir.absolute()
        self.python = python.absolute()
        self.place = place.find()
        self._uids: set[int] = set()
        self._running: set[Running] = set()
        self._kit: asyncio.Task[Kit] | None = None
        self._lock = -1

    async def create(self, spec: Spec) -> Running:
        if not IDS.fullmatch(spec.id):
            raise ValueError(f"not a sandbox id: {spec.id!r}")
        kit = await self._prepared()
        uid = await asyncio.to_thread(self._own, spec.workspace)
        try:
            sandbox = await make(kit, spec, uid)
        except BaseException:
            self._uids.discard(uid or 0)
            raise
        sandbox.watch(asyncio.create_task(guard(sandbox, spec.workspace)))
        self._running.add(sandbox)
        sandbox.on_gone = lambda: self._forget(sandbox, uid)
        return sandbox

    def _forget(self, sandbox: Running, uid: int | None) -> None:
        self._running.discard(sandbox)
        self._uids.discard(uid or 0)

    async def check(self) -> Health:
        return await examine(self)

    async def adopt(self) -> list[Sandbox]:
        await self._prepared()
        await asyncio.to_thread(left.sweep, self.run_dir, self.place)
        return []

    def give(self, workspace: Path, sandbox: Sandbox) -> None:
        if not isinstance(sandbox, Running) or sandbox.uid is None:
            return
        directory = workspaces.open_workspace(workspace)
        try:
            workspaces.give(directory, sandbox.uid)
        finally:
            os.close(directory)

    async def close(self, keep: bool = False) -> None:
        """Ends every sandbox, removes the run directory and gives it up."""
        await asyncio.gather(*(sandbox.kill() for sandbox in list(self._running)))
        if self._lock >= 0:
            await asyncio.to_thread(shutil.rmtree, self.run_dir, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1
            self._kit = None

    async def _prepared(self) -> Kit:
        """The kit, made once; made anew after a failure, whose cause may have been mended."""
        if self._kit is None or (self._kit.done() and self._kit.exception() is not None):
            self._kit = asyncio.create_task(self._prepare())
        return await asyncio.shield(self._kit)

    async def _prepare(self) -> Kit:
        if not seccomp.supported():
            raise SandboxUnavailable("Sandboxes can be made on x86-64 and ARM64 machines only.")
        bwrap, python = find_bwrap(), await ask_python(self.python)
        if self._lock < 0:
            self._lock = left.lock(self.run_dir)
            etc.build(self.run_dir / "etc")
        return Kit(self.run_dir, bwrap, python, IMAGE, self.place, seccomp.program())

    def _own(self, tree: Path) -> int | None:
        """Makes the workspace, and gives it to a host user that no other sandbox of this executor runs as; that user, or
        None where this process may not choose and they all run as its own. Blocks."""
        try:
            directory = workspaces.open_workspace(tree)
        except OSError as error:
            raise SandboxUnavailable(f"The workspace {tree} cannot be opened: {error.strerror}.") from error
        try:
            if os.geteuid() != 0:
                return None
            uid = self._take_uid(os.fstat(directory).st_uid)
            workspaces.give(directory, uid)
            return uid
        finally:
            os.close(directory)

    def _take_uid(self, owner: int) -> int:
        """The workspace's owner when that is a sandbox's user and free: then no file needs a new owner."""
        uid = owner if owner in UIDS else secrets.choice(UIDS)
        while uid in self._uids:
            uid = secrets.choice(UIDS)
        self._uids.add(uid)
        return uid
