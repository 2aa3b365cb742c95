"""All sandboxes of this executor: who has one, and what is done with it."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from pathlib import Path
from typing import Any

from executor import handover, outcomes, words
from executor.counts import Counts
from executor.culling import Culling
from executor.drive import Run, drive
from executor.ledger import Ledger
from executor.lifecycle import Reason
from executor.live import Live
from executor.maker import Announce
from executor.outbox import Outbox
from executor.questions import Questions
from executor.sandbox.base import Backend, SandboxUnavailable
from executor.settings import MB, Settings
from executor.slot import Slot
from executor.stopping import RESTART_S
from executor.supply import Supply
from executor.wire import Closed, Health, KernelEvent, KernelState, Rung, SandboxStatus

log = logging.getLogger(__name__)

ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
RESTARTED = "restarted"  # by the user, as the reason why variables are gone
TAIL = 256 * 1024  # bytes of a long text's end that are handed on after its middle was left out


class Manager:
    """Make it inside a running event loop. Workspaces live in `<data_dir>/workspaces/<conversation>`."""

    def __init__(
        self,
        backend: Backend,
        settings: Settings,
        data_dir: Path,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._backend = backend
        self._settings = settings
        self._workspaces = data_dir / "workspaces"
        self._clock = clock
        self._wall = wall
        self._slots: dict[str, Slot] = {}
        self._runs: dict[str, set[Run]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._culling = Culling(self._slots, self._runs, settings, clock)
        self._ledger = Ledger()
        self._supply = Supply(backend, settings, self._ledger, self._workspaces, self._culling.evict, clock)
        self._closing = False
        self._beginning: asyncio.Task[None] | None = None
        self._culler: asyncio.Task[None] | None = None

    @property
    def counts(self) -> Counts:
        return self._ledger.counts

    # ---- what the contract says --------------------------------------------------------------------------------------

    async def run(
        self, conversation: str, cell: str, code: str, timeout_s: float, allow_stdin: bool = False
    ) -> AsyncGenerator[KernelEvent, None]:
        """Run one cell after those before it. Ends with exactly one Closed; closing the generator early stops the cell.
        Raises ValueError for ids that are none."""
        _checked(cell)
        slot = self._slot(conversation)
        outbox = Outbox(int(self._settings.output_mb * MB), TAIL)
        run = Run(code, timeout_s, outbox, cell, Questions(outbox) if allow_stdin else None)
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

    def reply(self, conversation: str, cell: str, ask: str, text: str) -> bool:
        """Answer a question that a running cell has `Asked`; False when it does not wait for that (any more)."""
        asking = [run.questions for run in self._runs.get(_checked(conversation), ()) if run.cell == _checked(cell)]
        return any(questions.reply(ask, text) for questions in asking if questions is not None)

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
        slot.history.cause = RESTARTED
        busy = slot.state is not KernelState.IDLE or bool(self._runs.get(conversation))
        if busy or slot.channel is None or not await slot.channel.restart(RESTART_S):
            await self._end(slot, words.RESTARTED, Reason.KILLED_BY_USER)
        ready = slot.ready()
        if isinstance(ready, asyncio.Task):
            await asyncio.shield(ready)
        slot.history.tell()  # whoever asked for it knows

    async def status(self, conversation: str) -> SandboxStatus:
        slot = self._slots.get(_checked(conversation))
        return slot.status() if slot is not None else SandboxStatus(state=KernelState.NONE)

    async def remove(self, conversation: str) -> None:
        """Sandbox and workspace are gone for good. What runs is stopped."""
        await self._end(self._slot(conversation), words.REMOVED, Reason.RELEASED, with_files=True)
        self._forget()

    def slot_of(self, conversation: str) -> Slot | None:
        """What there is of a conversation now, for those who only look. Raises ValueError for ids that are none."""
        return self._slots.get(_checked(conversation))

    def workspace_of(self, conversation: str) -> Path:
        """The directory of a conversation's files; it may not exist yet. Raises ValueError for ids that are none."""
        return self._workspaces / _checked(conversation)

    async def check(self) -> Health:
        return await self._backend.check()

    async def close(self) -> None:
        """End every sandbox at once; leave nothing behind."""
        self._closing = True
        self._supply.refuses = words.CLOSING
        for task in (self._culler, self._beginning):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        await asyncio.gather(
            self._supply.pool.close(), *(self._end(slot, words.CLOSING, Reason.RELEASED) for slot in self._slots.values())
        )
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self._backend.close()

    # ---- life --------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Take up what an earlier life left, and start to keep sandboxes warm. Otherwise the first use does it."""
        if self._beginning is None and not self._closing:
            self._beginning = asyncio.create_task(self._begin())
            self._culler = asyncio.create_task(self._cull_for_ever())

    async def cull(self) -> None:
        """Remove sandboxes that are idle for too long or too old. A cell that runs may finish."""
        await self._culling.cull()
        self._forget()

    async def _begin(self) -> None:
        await self._backend.adopt()
        await asyncio.to_thread(handover.settle, self._workspaces)
        self._supply.pool.begin()

    async def _begun(self) -> None:
        """Waits until sandboxes may be made. Raises what taking up the earlier life raised; the next call tries again."""
        if self._beginning is None:
            raise SandboxUnavailable(f"{words.CLOSING}.")
        try:
            await asyncio.shield(self._beginning)
        except Exception:
            if self._beginning.done():
                self._beginning = asyncio.create_task(self._begin())
            raise

    async def _obtain(self, slot: Slot, announce: Announce) -> Live:
        await self._begun()
        return await self._supply.obtain(slot, announce)

    def _forget(self) -> None:
        """Slots without a sandbox hold nothing worth keeping."""
        for slot in list(self._slots.values()):
            if slot.forgettable and not self._runs.get(slot.conversation):
                del self._slots[slot.conversation]

    async def _cull_for_ever(self) -> None:
        while True:
            await asyncio.sleep(min(30.0, self._settings.idle_minutes * 15))
            await self.cull()
            self._supply.pool.retire(self._clock(), self._settings.hard_lifetime_s / 2)

    # ---- plumbing ----------------------------------------------------------------------------------------------------

    def _slot(self, conversation: str) -> Slot:
        self.begin()
        slot = self._slots.get(_checked(conversation))
        if slot is None:
            workspace, limits = self.workspace_of(conversation), self._supply.limits
            slot = Slot(conversation, workspace, limits, self._obtain, self._wall, self._changed)
            slot.used = self._clock()
            self._slots[conversation] = slot
        return slot

    def _changed(self, slot: Slot) -> None:
        """It has a new kernel, or has lost its variables."""

    async def _drive(self, slot: Slot, run: Run) -> None:
        runs = self._runs[slot.conversation]
        slot.used = self._clock()
        try:
            closed = await drive(slot, run)
            self._count(run, closed)
        finally:
            runs.discard(run)
            slot.used = self._clock()
            if not runs:
                self._runs.pop(slot.conversation, None)

    def _count(self, run: Run, closed: Closed) -> None:
        counts = self._ledger.counts
        counts.outcomes[outcomes.taxonomy(closed)] += 1
        counts.rungs[closed.rung] += closed.rung is not Rung.NONE
        counts.bytes_dropped += closed.dropped_bytes
        counts.bytes_out += run.outbox.used

    async def _end(self, slot: Slot, cause: str, reason: Reason, with_files: bool = False) -> None:
        """Stop what runs and waits, and end the sandbox without asking the code first."""
        runs = list(self._runs.get(slot.conversation, ()))
        for run in runs:
            run.stop(cause, files_kept=not with_files)
        await slot.drop(reason, with_files)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _checked(id: str) -> str:
    if not ID.fullmatch(id):
        raise ValueError("An id has 1 to 64 letters, digits, - or _.")
    return id
