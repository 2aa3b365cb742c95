"""A sandbox that runs: its process, its socket, its counters, its end."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from executor.sandbox.base import Limits, SandboxUnavailable, Spec, Usage
from executor.sandbox.cgroups import Group

HOLD = Path(__file__).with_name("hold.py")
KILL_S = 5.0
STDERR_KEPT = 4096


class Running:
    """What `executor.sandbox.base.Sandbox` asks for, by bubblewrap."""

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
        self.on_gone: Callable[[], None] = lambda: None
        self._socket_fd = os.open(self.socket, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._process: asyncio.subprocess.Process | None = None
        self._init: int | None = None  # pidfd of the sandbox's pid 1: once it is gone, nothing in there lives
        self._stderr = b""
        self._tasks: list[asyncio.Task[None]] = []
        self._killing: asyncio.Future[None] | None = None
        self._cause = ""
        self._init_pid: int | None = None
        self.workspace_used: int | None = None

    @property
    def limits(self) -> Limits:
        return self.spec.limits

    def assign(self, conversation: str, workspace: Path) -> None:
        if self.conversation is not None:
            raise RuntimeError(f"sandbox {self.id} has a conversation already")
        self.conversation, self.spec = conversation, replace(self.spec, workspace=workspace)

    def attach(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._tasks.append(asyncio.create_task(self._keep_stderr()))

    def attach_init(self, pid: int) -> None:
        """`pid` is that of the sandbox's pid 1 as seen from here."""
        with suppress(ProcessLookupError):
            self._init, self._init_pid = os.pidfd_open(pid), pid

    def gateway_pid(self) -> int | None:
        """bubblewrap's pid 1 inside has one child from the start, the gateway; orphans it adopts come after."""
        return next(iter(children(self._init_pid)), None) if self._init_pid else None

    def tenant_pids(self) -> list[int]:
        """Every process in the sandbox but pid 1 and the gateway."""
        pending, found = [self._init_pid] if self._init_pid else [], []
        while pending:
            below = children(pending.pop())
            pending += below
            found += below
        return [pid for pid in found if pid != self.gateway_pid()]

    def watch(self, task: asyncio.Task[None]) -> None:
        """A task that ends with the sandbox."""
        self._tasks.append(task)

    async def _keep_stderr(self) -> None:
        """The last of it; at most some 40 kB/s, since the tenant can write there, too."""
        assert self._process is not None and self._process.stderr is not None
        while chunk := await self._process.stderr.read(STDERR_KEPT):
            self._stderr = (self._stderr + chunk)[-STDERR_KEPT:]
            await asyncio.sleep(0.1)

    def dial_path(self) -> str:
        if self._socket_fd < 0 or not stat.S_ISSOCK(os.fstat(self._socket_fd).st_mode):
            raise SandboxUnavailable("The sandbox has ended.")
        return f"/proc/self/fd/{self._socket_fd}"

    def alive(self) -> bool:
        return self._killing is None and self._process is not None and self._process.returncode is None

    def usage(self) -> Usage:
        usage = self.group.usage() if self.group else Usage(None, None, None)
        return replace(usage, workspace=self.workspace_used)

    def complaint(self) -> str:
        """The last of what bubblewrap or the gateway wrote to standard error."""
        return self._stderr.decode(errors="replace").strip()

    async def wait(self) -> str:
        assert self._process is not None
        code = await self._process.wait()
        await asyncio.wait(self._tasks[:1], timeout=1.0)  # for its last words
        if self._cause:
            return self._cause
        ended = f"signal {-code}" if code < 0 else f"status {code}"
        return f"ended by itself with {ended}" + (f": {self.complaint()}" if self.complaint() else "")

    def end(self, cause: str) -> None:
        """Kills without waiting; `wait` then says `cause`. For guards; somebody still has to call `kill`."""
        self._cause = self._cause or cause
        self._signal()

    async def hold(self, length: int) -> None:
        """Sets how long the tenant's processes may make a file, in bytes."""
        uid = "-" if self.uid is None else str(self.uid)
        pids = [str(pid) for pid in self.tenant_pids()]
        process = await asyncio.create_subprocess_exec(sys.executable, "-I", "-S", str(HOLD), uid, str(length), *pids)
        await process.wait()

    def _signal(self) -> None:
        with suppress(ProcessLookupError):
            if self._init is not None:
                signal.pidfd_send_signal(self._init, signal.SIGKILL)
            elif self._process is not None:
                self._process.kill()

    async def kill(self) -> None:
        if self._killing is None:
            self._cause = self._cause or "was killed"
            self._killing = asyncio.ensure_future(self._kill())
        await asyncio.shield(self._killing)

    async def _kill(self) -> None:
        self._signal()
        try:
            await self._ended()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.to_thread(self._remove)
            self.on_gone()

    async def _ended(self) -> None:
        """Until the process tree is gone; bubblewrap itself is killed when it does not follow."""
        if self._process is None:
            return
        try:
            await asyncio.wait_for(self._process.wait(), KILL_S)
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    def _remove(self) -> None:
        for fd in (self._socket_fd, self._init):
            if fd is not None and fd >= 0:
                os.close(fd)
        self._socket_fd, self._init = -1, None
        if self.group is not None:
            self.group.remove(KILL_S)
        shutil.rmtree(self.directory, ignore_errors=True)


def children(pid: int) -> list[int]:
    """The processes started by any thread of `pid`; none when it is gone."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found
