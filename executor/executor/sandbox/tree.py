"""The processes of one sandbox: bubblewrap outside, its pid 1 inside, and all that lives below."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import Any

from executor.sandbox import process
from executor.sandbox.process import Held, children

STDERR_ROOM = 64 * 1024  # bytes of standard error that a sandbox may write in its life
STDERR_KEPT = 4096


def new_stderr() -> int:
    """A descriptor for a sandbox's standard error: memory of a fixed size. Nobody has to read it, so nothing in there ever
    waits for the executor or dies of its end; and once it is full, writing fails, so nobody can fill anything with it."""
    fd = os.memfd_create("stderr", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, STDERR_ROOM)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return fd


class Tree:
    """`outer` is bubblewrap as it was launched. `stderr` is -1 where an earlier life of the executor had it."""

    def __init__(self, outer: Held, stderr: int = -1, init: Held | None = None) -> None:
        self.outer = outer
        self.init = init  # the sandbox's pid 1: once it is gone, nothing in there lives
        self._stderr = stderr
        self._last_words = ""

    def attach_init(self, pid: int) -> None:
        """`pid` is that of the sandbox's pid 1 as seen from here."""
        with suppress(OSError):
            init = Held(pid)
            if process.parent(pid) == self.outer.pid:
                self.init = init
            else:  # it has ended already
                init.close()

    def gateway_pid(self) -> int | None:
        """bubblewrap's pid 1 inside has one child from the start, the gateway; orphans it adopts come after."""
        return next(iter(children(self.init.pid)), None) if self.init else None

    def tenant_pids(self) -> list[int]:
        """Every process in the sandbox but pid 1 and the gateway."""
        pending, found = [self.init.pid] if self.init else [], []
        while pending:
            below = children(pending.pop())
            pending += below
            found += below
        return [pid for pid in found if pid != self.gateway_pid()]

    def complaint(self) -> str:
        """The last of what bubblewrap or the gateway wrote to standard error."""
        if self._stderr >= 0:
            written = os.pread(self._stderr, STDERR_ROOM, 0).rstrip(b"\0")
            self._last_words = written[-STDERR_KEPT:].decode(errors="replace").strip()
        return self._last_words

    def alive(self) -> bool:
        return self.outer.alive() and (self.init is None or self.init.alive())

    def kill(self) -> None:
        """Without waiting. Once pid 1 is gone, the kernel has killed all below it, and bubblewrap follows."""
        (self.init or self.outer).kill()

    async def ended(self) -> str:
        """Until the last process is gone; how, in words. For one waiter."""
        status = await self.outer.ended()
        if self.init is not None:
            self.init.kill()  # had bubblewrap alone been killed, it would live on
            await self.init.ended()
        how = "" if status is None else f" with signal {-status}" if status < 0 else f" with status {status}"
        return f"ended by itself{how}" + (f": {self.complaint()}" if self.complaint() else "")

    def facts(self) -> dict[str, Any]:
        """What `found` knows it by."""
        held = {"outer": self.outer, "init": self.init}
        return {name: [one.pid, one.started] for name, one in held.items() if one is not None}

    def close(self) -> None:
        self.complaint()
        if self._stderr >= 0:
            os.close(self._stderr)
            self._stderr = -1
        for held in (self.outer, self.init):
            if held is not None:
                held.close()


def found(facts: dict[str, Any], mark: str) -> Tree | None:
    """The tree that an earlier life of the executor launched and noted as `facts`, when it still lives and is what it is
    said to be. Raises KeyError, TypeError or ValueError when `facts` are none."""
    (outer_pid, outer_start), (init_pid, init_start) = facts["outer"], facts["init"]
    outer = process.again(int(outer_pid), str(outer_start))
    if outer is None:
        return None
    init = process.again(int(init_pid), str(init_start))
    if init is not None and process.parent(init.pid) == outer.pid and mark in process.marks(outer.pid):
        return Tree(outer, init=init)
    for held in (outer, init):
        if held is not None:
            held.close()
    return None
