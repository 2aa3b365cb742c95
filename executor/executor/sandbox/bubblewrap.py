"""Sandboxes with bubblewrap: namespaces, a root built from nothing, a system call filter, and cgroups where there are any.

A sandbox is one process tree below bubblewrap. What is on disk for it is one directory in the run directory, readable by
this user alone: the gateway's socket, and who it is (`sandbox.json`), so that a later life of the executor can take it up,
or clear it away. Whether it may outlive this process is chosen once (`survive`); otherwise it dies when this process does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
import shutil
from pathlib import Path

from executor.sandbox import adoption, etc, identity, left, place, seccomp
from executor.sandbox import workspace as workspaces
from executor.sandbox.base import Limits, Sandbox, SandboxUnavailable, Spec
from executor.sandbox.disk import guard
from executor.sandbox.making import Kit, make
from executor.sandbox.probe import examine
from executor.sandbox.programs import ask_python, find_bwrap
from executor.sandbox.running import Running
from executor.sandbox.users import Users
from executor.wire import Health

log = logging.getLogger(__name__)

IDS = re.compile(r"[A-Za-z0-9_-]{1,64}")
UIDS = range(210_000, 265_000)  # host user ids of sandboxes, where this process is root
IMAGE = Path(__file__).resolve().parents[2] / "image"


class Bubblewrap:
    """The backend `bubblewrap`. `run_dir` holds what belongs to running sandboxes and must be this executor's alone;
    `python` is the interpreter that runs inside, of an environment with the kernel gateway and the libraries. With
    `survive`, sandboxes live on when this process ends, and its next life takes up those made with the `limits` of then
    (None: any)."""

    name = "bubblewrap"

    def __init__(self, run_dir: Path, python: Path, survive: bool = False, limits: Limits | None = None) -> None:
        self.run_dir = run_dir.absolute()
        self.python = python.absolute()
        self.survive = survive
        self.limits = limits
        self.place = place.find()
        self._users = Users(UIDS)
        self._running: set[Running] = set()
        self._kit: asyncio.Task[Kit] | None = None
        self._lock = -1

    # ---- what the contract says --------------------------------------------------------------------------------------

    async def create(self, spec: Spec) -> Running:
        if not IDS.fullmatch(spec.id):
            raise ValueError(f"not a sandbox id: {spec.id!r}")
        kit = await self._prepared()
        uid = await asyncio.to_thread(self._own, spec.workspace)
        try:
            sandbox = await make(kit, spec, uid)
        except BaseException:
            self._free(uid)
            raise
        self._attend(sandbox)
        return sandbox

    async def adopt(self) -> list[Sandbox]:
        kit = await self._prepared()
        known = {sandbox.id for sandbox in self._running}
        found = [path for path in left.sandboxes(self.run_dir) if self.survive and path.name not in known]
        kept = await asyncio.gather(*(self._kept(kit, directory) for directory in found))
        await asyncio.to_thread(left.sweep, self.run_dir, self.place, {sandbox.id for sandbox in self._running})
        return [sandbox for sandbox in kept if sandbox is not None]

    def give(self, workspace: Path, sandbox: Sandbox) -> None:
        if not isinstance(sandbox, Running) or sandbox.uid is None:
            return
        directory = workspaces.open_workspace(workspace)
        try:
            workspaces.give(directory, sandbox.uid)
        finally:
            os.close(directory)

    async def check(self) -> Health:
        return await examine(self)

    async def close(self, keep: bool = False) -> None:
        """Also gives up the run directory, and removes it when no sandbox stays."""
        staying = {sandbox for sandbox in self._running if keep and self.survive and sandbox.conversation is not None}
        await asyncio.gather(*(sandbox.kill() for sandbox in self._running - staying))
        await asyncio.gather(*(sandbox.leave() for sandbox in staying))
        self._running.clear()
        if self._lock >= 0:
            if not staying:
                await asyncio.to_thread(shutil.rmtree, self.run_dir, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1
            self._kit = None

    # ---- plumbing ----------------------------------------------------------------------------------------------------

    async def _kept(self, kit: Kit, directory: Path) -> Running | None:
        """The sandbox in `directory`, when it goes on living; what is left of it otherwise is for the sweep."""
        try:
            sandbox, tree = await asyncio.to_thread(adoption.reopened, kit, directory, self.limits)
        except adoption.Unfit as error:
            log.info("sandbox %s is removed: %s", directory.name, error)
            return None
        sandbox.attach(tree)
        if not await adoption.answering(sandbox) or not self._reserve(sandbox.uid):
            log.info("sandbox %s is removed: it does not answer", sandbox.id)
            await sandbox.kill()
            return None
        self._attend(sandbox)
        log.info("sandbox %s of conversation %s lives on", sandbox.id, sandbox.conversation)
        return sandbox

    def _attend(self, sandbox: Running) -> None:
        sandbox.watch(asyncio.create_task(guard(sandbox, sandbox.spec.workspace)))
        self._running.add(sandbox)
        sandbox.on_gone = lambda: self._forget(sandbox)

    def _forget(self, sandbox: Running) -> None:
        self._running.discard(sandbox)
        self._free(sandbox.uid)

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
        key = await asyncio.to_thread(self._lay_ground)
        return Kit(self.run_dir, bwrap, python, IMAGE, self.place, seccomp.program(), key, self.survive)

    def _lay_ground(self) -> bytes:
        """What all sandboxes share: their /etc, and the key of their tokens, which is kept only for those that survive."""
        try:
            etc.renew(self.run_dir / left.ETC)
            return identity.runner_key(self.run_dir) if self.survive else secrets.token_bytes(identity.BYTES)
        except (OSError, ValueError) as error:
            raise SandboxUnavailable(f"The run directory cannot be used: {error}") from error

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
            uid = self._users.take(os.fstat(directory).st_uid)
            workspaces.give(directory, uid)
            return uid
        finally:
            os.close(directory)

    def _reserve(self, uid: int | None) -> bool:
        """Whether no other sandbox runs as the user; none will from now on."""
        if uid is None:
            return True
        taken = self._users.take(uid)
        if taken != uid:
            self._users.free(taken)
        return taken == uid

    def _free(self, uid: int | None) -> None:
        if uid is not None:
            self._users.free(uid)
