"""A sandbox that runs: its processes, its socket, its counters, its end."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import aiohttp

from executor.sandbox import record
from executor.sandbox.base import Limits, SandboxUnavailable, Spec, Usage
from executor.sandbox.cgroups import Group
from executor.sandbox.tree import Tree

HOLD = Path(__file__).with_name("hold.py")
KILL_S = 5.0


class Running:
    """What `executor.sandbox.base.Sandbox` asks for, by bubblewrap. It has a socket from the start, and processes once
    `attach` was called. Raises OSError when there is no socket."""

    def __init__(self, spec: Spec, directory: Path, token: str, group: Group | None, uid: int | None) -> None:
        self.id = spec.id
        self.spec = spec
        self.conversation: str | None = None
        self.deadline = time.time() + spec.lifetime_s
        self.uid = uid  # on the host; None where it is this process's own
        self.directory = directory
        self.socket = directory / "gateway.sock"
        self.token = token
        self.group = group
        self.tree: Tree | None = None
        self.workspace_used: int | None = None
        self.on_gone: Callable[[], None] = lambda: None
        self._socket_fd = os.open(self.socket, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._tasks: list[asyncio.Task[None]] = []
        self._ended: asyncio.Task[str] | None = None
        self._killing: asyncio.Future[None] | None = None
        self._cause = ""

    @property
    def limits(self) -> Limits:
        return self.spec.limits

    # ---- beginning ---------------------------------------------------------------------------------------------------

    def attach(self, tree: Tree) -> None:
        self.tree = tree
        self._ended = asyncio.create_task(tree.ended())

    def watch(self, task: asyncio.Task[None]) -> None:
        """A task that ends with the sandbox."""
        self._tasks.append(task)

    def assign(self, conversation: str, workspace: Path) -> None:
        if self.conversation is not None:
            raise RuntimeError(f"sandbox {self.id} has a conversation already")
        record.bind(self.directory, conversation, workspace)
        self.conversation, self.spec = conversation, replace(self.spec, workspace=workspace)

    # ---- while it lives ----------------------------------------------------------------------------------------------

    def dial_path(self) -> str:
        """A path that leads to the gateway's socket and to nothing else."""
        if self._socket_fd < 0 or not stat.S_ISSOCK(os.fstat(self._socket_fd).st_mode):
            raise SandboxUnavailable("The sandbox has ended.")
        return f"/proc/self/fd/{self._socket_fd}"

    def connector(self) -> aiohttp.BaseConnector:
        return aiohttp.UnixConnector(path=self.dial_path())

    async def refresh(self) -> None:
        """Its counters are read when they are asked for."""

    def owned_socket(self) -> bool:
        """Whether what lies at its socket's place is a socket that this user made."""
        status = os.fstat(self._socket_fd)
        return stat.S_ISSOCK(status.st_mode) and status.st_uid == os.geteuid()

    def alive(self) -> bool:
        return self._killing is None and self.tree is not None and self.tree.alive()

    def gateway_pid(self) -> int | None:
        return self.tree.gateway_pid() if self.tree else None

    def tenant_pids(self) -> list[int]:
        """Every process in the sandbox but pid 1 and the gateway."""
        return self.tree.tenant_pids() if self.tree else []

    def usage(self) -> Usage:
        usage = self.group.usage() if self.group else Usage(None, None, None)
        return replace(usage, workspace=self.workspace_used)

    def complaint(self) -> str:
        """The last of what bubblewrap or the gateway wrote to standard error."""
        return self.tree.complaint() if self.tree else ""

    async def hold(self, length: int) -> None:
        """Sets how long the tenant's processes may make a file, in bytes."""
        uid = "-" if self.uid is None else str(self.uid)
        pids = [str(pid) for pid in self.tenant_pids()]
        process = await asyncio.create_subprocess_exec(sys.executable, "-I", "-S", str(HOLD), uid, str(length), *pids)
        await process.wait()

    # ---- ending ------------------------------------------------------------------------------------------------------

    async def wait(self) -> str:
        assert self._ended is not None
        how = await asyncio.shield(self._ended)
        if not self._cause and time.time() >= self.deadline:
            self._cause = f"ended with its lifetime of {self.spec.lifetime_s:.0f} s"
        return self._cause or how

    def end(self, cause: str) -> None:
        """Kills without waiting; `wait` then says `cause`. For guards; somebody still has to call `kill`."""
        self._cause = self._cause or cause
        if self.tree is not None:
            self.tree.kill()

    async def kill(self) -> None:
        if self._killing is None:
            self._cause = self._cause or "was killed"
            self._killing = asyncio.ensure_future(self._kill())
        await asyncio.shield(self._killing)

    async def _kill(self) -> None:
        try:
            await self._end_processes()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.to_thread(self._remove)
            self.on_gone()

    async def _end_processes(self) -> None:
        """Until the process tree is gone; bubblewrap itself is killed when it does not follow."""
        if self.tree is None or self._ended is None:
            return
        self.tree.kill()
        if not (await asyncio.wait([self._ended], timeout=KILL_S))[0]:
            self.tree.outer.kill()
            await asyncio.wait([self._ended])

    def _remove(self) -> None:
        self.let_go()
        if self.group is not None:
            self.group.remove(KILL_S)
        shutil.rmtree(self.directory, ignore_errors=True)

    async def leave(self) -> None:
        """Lets go of it: it lives on, for the next life of the executor."""
        tasks = [*self._tasks, *([self._ended] if self._ended else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.let_go()

    def let_go(self) -> None:
        """Closes what is open for it here."""
        fd, self._socket_fd = self._socket_fd, -1
        if fd >= 0:
            os.close(fd)
        if self.tree is not None:
            self.tree.close()
