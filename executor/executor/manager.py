"""All sandboxes of this executor: who has one, how many there may be, and when an idle one goes."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from pathlib import Path
from typing import Any

from executor import words
from executor.drive import RESTART_S, Run, drive
from executor.outbox import Outbox
from executor.sandbox.base import Backend, SandboxUnavailable
from executor.settings import MB, Settings
from executor.slot import Slot
from executor.wire import Closed, Health, KernelEvent, KernelState, SandboxStatus

log = logging.getLogger(__name__)

ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
TAIL = 256 * 1024  # bytes of a long text's end that are handed on after its middle was left out
EVICT_AFTER_S = 5.0  # an idle sandbox may be taken from its conversation when all are in use: variables go, files stay


class Manager:
    """Make it inside a running event loop. Workspaces live in `<data_dir>/workspaces/<conversation>`.

    Warm sandboxes would be handed out by the backend: `create` is the only place where one comes into being.
    """

    def __init__(
        self, backend: Backend, settings: Settings, data_dir: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._backend = backend
        self._settings = settings
        self._workspaces = data_dir / "workspaces"
        self._clock = clock
        self._slots: dict[str, Slot] = {}
        self._runs: dict[str, set[Run]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._admission = asyncio.Lock()
        self._swept = False
        self._closing = False
        self._culler: asyncio.Task[None] | None = None

    # ---- what the contract says --------------------------------------------------------------------------------------

    async def run(self, conversation: str, cell: str, code: str, timeout_s: float) -> AsyncGenerator[KernelEvent, None]:
        """Run one cell after those before it. Ends with exactly one Closed; closing the generator early stops the cell.
        Raises ValueError for ids that are none."""
        _checked(cell)
        slot = self._slot(conversation)
        run = Run(code, timeout_s, Outbox(int(self._settings.output_mb * MB), TAIL))
        if self._closing:
            run.stop(words.CLOSING)
        self._runs.setdefault(conversation, set()).add(run)
        self._spawn(self._drive(slot, run))
        try:
            while True:
                event = await run.outbox.get()
                yield event
                if isinstance(event, Closed):
                    return
        finally:
            run.stop()

    async def interrupt(self, conversation: str) -> None:
        """Stop the running cell and those that wait behind it. Returns at once."""
        for run in list(self._runs.get(_checked(conversation), ())):
            run.stop()

    async def prepare(self, conversation: str) -> None:
        slot = self._slot(conversation)
        slot.used = self._clock()
        if not self._closing:
            slot.ready()

    async def restart(self, conversation: str) -> None:
        """An empty kernel, files kept. What runs is stopped. Raises SandboxUnavailable."""
        slot = self._slot(conversation)
        slot.used = self._clock()
        busy = slot.state is not KernelState.IDLE or bool(self._runs.get(conversation))
        if busy or slot.channel is None or not await slot.channel.restart(RESTART_S):
            await self._end(slot, words.RESTARTED)
        ready = slot.ready()
        if isinstance(ready, asyncio.Task):
            await asyncio.shield(ready)

    async def status(self, conversation: str) -> SandboxStatus:
        slot = self._slots.get(_checked(conversation))
        return slot.status() if slot is not None else SandboxStatus(state=KernelState.NONE)

    async def remove(self, conversation: str) -> None:
        """Sandbox and workspace are gone for good. What runs is stopped."""
        await self._end(self._slot(conversation), words.REMOVED, with_files=True)
        self._forget()

    def workspace_of(self, conversation: str) -> Path:
        """The directory of a conversation's files; it may not exist yet. Raises ValueError for ids that are none."""
        return self._workspaces / _checked(conversation)

    async def check(self) -> Health:
        return await self._backend.check()

    async def close(self) -> None:
        """End every sandbox at once; leave nothing behind."""
        self._closing = True
        if self._culler is not None:
            self._culler.cancel()
        await asyncio.gather(*(self._end(slot, words.CLOSING) for slot in self._slots.values()))
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self._backend.close()

    # ---- idle sandboxes ----------------------------------------------------------------------------------------------

    async def cull(self) -> None:
        """Remove sandboxes without a cell for too long. Never a busy one."""
        latest = self._clock() - self._settings.idle_minutes * 60
        idle = [slot for slot in self._slots.values() if self._is_idle(slot) and slot.used <= latest]
        for slot in idle:
            log.info("removing the idle sandbox of conversation %s", slot.conversation)
        if idle:
            await asyncio.wait([slot.drop() for slot in idle])
        self._forget()

    def _forget(self) -> None:
        """Slots without a sandbox hold nothing worth keeping."""
        for slot in list(self._slots.values()):
            if slot.forgettable and not self._runs.get(slot.conversation):
                del self._slots[slot.conversation]

    async def _cull_for_ever(self) -> None:
        while True:
            await asyncio.sleep(min(30.0, self._settings.idle_minutes * 15))
            await self.cull()

    async def _admit(self, newcomer: Slot) -> None:
        """Make room for one more sandbox, at the cost of the one that has been idle the longest."""
        async with self._admission:
            if self._closing:
                raise SandboxUnavailable(f"{words.CLOSING}.")
            if not self._swept:
                await self._backend.adopt()
                self._swept = True
            others = [slot for slot in self._slots.values() if slot.state is not KernelState.NONE and slot is not newcomer]
            if len(others) < self._settings.max:
                return
            latest = self._clock() - EVICT_AFTER_S
            idle = [slot for slot in others if self._is_idle(slot) and slot.used <= latest]
            if not idle:
                raise SandboxUnavailable(words.all_taken(self._settings.max))
            await asyncio.shield(min(idle, key=lambda slot: slot.used).drop())

    def _is_idle(self, slot: Slot) -> bool:
        busy = slot.state in (KernelState.NONE, KernelState.STARTING, KernelState.BUSY)
        return not busy and not self._runs.get(slot.conversation)

    # ---- plumbing ----------------------------------------------------------------------------------------------------

    def _slot(self, conversation: str) -> Slot:
        if self._culler is None and not self._closing:
            self._culler = asyncio.create_task(self._cull_for_ever())
        slot = self._slots.get(_checked(conversation))
        if slot is None:
            slot = Slot(conversation, self.workspace_of(conversation), self._backend, self._settings.limits(), self._admit)
            slot.used = self._clock()
            self._slots[conversation] = slot
        return slot

    async def _drive(self, slot: Slot, run: Run) -> None:
        runs = self._runs[slot.conversation]
        slot.used = self._clock()
        try:
            await drive(slot, run)
        finally:
            runs.discard(run)
            slot.used = self._clock()
            if not runs:
                self._runs.pop(slot.conversation, None)

    async def _end(self, slot: Slot, reason: str, with_files: bool = False) -> None:
        """Stop what runs and waits, and end the sandbox without asking the code first."""
        runs = list(self._runs.get(slot.conversation, ()))
        for run in runs:
            run.stop(reason, files_kept=not with_files)
        await slot.drop(with_files)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _checked(id: str) -> str:
    if not ID.fullmatch(id):
        raise ValueError("An id has 1 to 64 letters, digits, - or _.")
    return id
