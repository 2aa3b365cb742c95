"""All sandboxes of this executor: who has one, and what is done with it."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from executor import logs, outcomes, overview, tracing, words
from executor.audit import Audit
from executor.claims import Claims
from executor.counts import Counts
from executor.culling import Culling
from executor.drive import Run, drive
from executor.housekeeping import Housekeeping
from executor.leases import Leases
from executor.ledger import Ledger
from executor.lifecycle import Reason
from executor.memory import Memory
from executor.outbox import Outbox
from executor.questions import Questions
from executor.runs import Runs, ended
from executor.sandbox.base import Backend, Limits, Profile, SandboxUnavailable
from executor.settings import MB, Settings
from executor.slot import Slot
from executor.stopping import RESTART_S
from executor.store import Store
from executor.supply import Supply
from executor.wire import Closed, Health, KernelEvent, KernelState, Rung, SandboxLine, SandboxStatus, Settled
from executor.wire_claims import Interrupted

log = logging.getLogger(__name__)

ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
RESTARTED = "restarted"  # by the user, as the reason why variables are gone
SETTLE_S = 12.0  # for cells to end once they were stopped: longer than the ladder
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
        self.clock = clock
        self._wall = wall
        self._store = Store(data_dir / "executor.db")
        self._memory = Memory(self._store, wall)
        self.audit = Audit(self._store, wall)
        self._slots: dict[str, Slot] = {}
        self._runs = Runs()
        self._tasks: set[asyncio.Task[None]] = set()
        self._culling = Culling(self._slots, self._runs, settings, clock)
        self._ledger = Ledger(self.audit.note)
        self._supply = Supply(backend, settings, self._ledger, self._workspaces, self._culling.evict, clock)
        self.claims = Claims(self, Leases(self._store, wall), wall, settings.idle_minutes * 60)
        self._closing = False
        self._house = Housekeeping(
            *(self._supply, self._ledger, self._memory, self.claims.leases, self._workspaces, settings),
            *(clock, self._slots, self.slot, self.cull),
        )

    @property
    def counts(self) -> Counts:
        return self._ledger.counts

    @property
    def profile(self) -> Profile:
        """What a conversation gets that asks for nothing."""
        return self._settings.profile

    @property
    def limits(self) -> Limits:
        """Of one sandbox, and of its files."""
        return self._supply.limits

    @property
    def workspaces(self) -> Path:
        """The directory that holds all of them."""
        return self._workspaces

    @property
    def draining(self) -> bool:
        """Nothing new is started any more."""
        return bool(self._supply.refuses)

    # ---- what the contract says --------------------------------------------------------------------------------------

    async def run(
        self,
        conversation: str,
        cell: str,
        code: str,
        timeout_s: float,
        allow_stdin: bool = False,
        fence: int | None = None,
    ) -> AsyncGenerator[KernelEvent, None]:
        """Run one cell after those before it. Ends with exactly one Closed; closing the generator early stops the cell.
        Without a fence nobody else's lease matters: for the process that has this manager to itself. Raises ValueError for
        ids that are none, Fenced."""
        _checked(cell)
        slot = self.slot(conversation)
        if fence is not None:
            self.claims.leases.check(conversation, fence)
        outbox = Outbox(int(self._settings.output_mb * MB), TAIL)
        run = Run(code, timeout_s, outbox, cell, Questions(outbox) if allow_stdin else None, fence)
        if self._closing:
            run.stop(words.CLOSING)
        self._runs.add(conversation, run)
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
        asking = [run.questions for run in self._runs.of(_checked(conversation)) if run.cell == _checked(cell)]
        return any(questions.reply(ask, text) for questions in asking if questions is not None)

    async def interrupt(self, conversation: str) -> None:
        """Stop the running cell and those that wait behind it. Returns at once."""
        self._runs.stop(_checked(conversation))

    async def interrupted(self, conversation: str) -> Interrupted:
        """Stop them, and wait until they have ended: how far the ladder had to be climbed."""
        return await ended(self._runs.stop(_checked(conversation)))

    def runs_any(self, conversation: str) -> bool:
        """Whether a cell runs or waits that nobody has stopped yet."""
        return any(not run.stopped.done() for run in self._runs.of(conversation))

    def stop_older(self, conversation: str, fence: int) -> None:
        """Another owner has taken over: what an earlier one runs, or has waiting, is stopped."""
        self._runs.stop(conversation, lambda run: run.fence is not None and run.fence < fence)

    async def prepare(self, conversation: str) -> None:
        slot = self.slot(conversation)
        slot.used = self.clock()
        if not self._closing and not slot.draining:
            slot.ready()

    async def restart(self, conversation: str) -> None:
        """An empty kernel, files kept. What runs is stopped. Raises SandboxUnavailable."""
        slot = self.slot(conversation)
        slot.used = self.clock()
        await self.known(slot)
        slot.history.cause = RESTARTED
        busy = slot.state is not KernelState.IDLE or self._runs.any_of(conversation)
        if busy or slot.channel is None or not await slot.channel.restart(RESTART_S):
            await self.end(slot, words.RESTARTED, Reason.KILLED_BY_USER)
        await slot.awake()
        slot.history.tell()  # whoever asked for it knows

    async def status(self, conversation: str) -> SandboxStatus:
        slot = self._slots.get(_checked(conversation))
        return slot.status() if slot is not None else SandboxStatus(state=KernelState.NONE)

    def sandboxes(self) -> list[SandboxLine]:
        """Those of conversations, and what each uses."""
        return [overview.line(slot, self.clock()) for slot in self._slots.values() if slot.state is not KernelState.NONE]

    def settle(self) -> list[Settled]:
        """What sandboxes have used beside their cells: each second is told once, here or with a cell."""
        return [settled for slot in self._slots.values() if (settled := overview.settle(slot)) is not None]

    async def end_sandbox(self, conversation: str) -> None:
        """The sandbox ends, whoever drives it; files stay. What runs is stopped, and told so."""
        slot = self._slots.get(_checked(conversation))
        if slot is not None:
            await self.end(slot, words.ENDED, Reason.RELEASED)

    async def remove(self, conversation: str) -> None:
        """Sandbox and workspace are gone for good. What runs is stopped."""
        await self.end(self.slot(conversation), words.REMOVED, Reason.RELEASED, with_files=True)
        self._forget()
        self._memory.forget(conversation)

    def slot_of(self, conversation: str) -> Slot | None:
        """What there is of a conversation now, for those who only look. Raises ValueError for ids that are none."""
        return self._slots.get(_checked(conversation))

    def workspace_of(self, conversation: str) -> Path:
        """The directory of a conversation's files; it may not exist yet. Raises ValueError for ids that are none."""
        return self._workspaces / _checked(conversation)

    async def check(self) -> Health:
        return await self._backend.check()

    def drain(self) -> None:
        """No claim and no new sandbox from now on. Cells may run in those that there are."""
        self._supply.refuses = words.DRAINING

    async def close(self, keep: bool = False) -> None:
        """End every sandbox at once; leave nothing behind. With `keep`: cells that run may end within a grace, then they
        are stopped; the sandboxes of conversations live on, for the next life of the executor."""
        if self._closing:
            return
        self.drain()
        if keep:
            await self.settle_down()
        self._closing = True
        await self._house.end()
        slots = list(self._slots.values())
        ending = (slot.leave() if keep else self._close(slot) for slot in slots)
        await asyncio.gather(self._supply.pool.close(), *ending)
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self._backend.close(keep)
        await self._store.close()

    async def _close(self, slot: Slot) -> None:
        slot.history.cause = Reason.HOST_LOST  # as the next life's first cell will see it
        await self.end(slot, words.CLOSING, Reason.RELEASED)

    async def settle_down(self) -> None:
        """Nothing new, and no cell that still runs when this returns: they have a grace to end by themselves, after which
        they are stopped, variables kept where they let themselves be stopped."""
        self.drain()
        await self._runs.settle((self._settings.drain_s, SETTLE_S))

    # ---- life --------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Take up what an earlier life left, and start to keep sandboxes warm. Otherwise the first use does it."""
        with logs.unrelated():
            self._house.begin()

    async def leases_known(self) -> None:
        """Waits until it is known who may drive what."""
        await self._house.leases_known()

    async def cull(self) -> None:
        """Remove sandboxes that are idle for too long or too old. A cell that runs may finish."""
        await self._culling.cull()
        self._forget()

    def _forget(self) -> None:
        """Slots without a sandbox hold nothing worth keeping."""
        for slot in list(self._slots.values()):
            if slot.forgettable and not self._runs.any_of(slot.conversation):
                del self._slots[slot.conversation]

    # ---- plumbing ----------------------------------------------------------------------------------------------------

    def slot(self, conversation: str) -> Slot:
        """What there is of a conversation; made where there was nothing. Raises ValueError for ids that are none."""
        self.begin()
        slot = self._slots.get(_checked(conversation))
        if slot is None:
            workspace, limits = self.workspace_of(conversation), self._supply.limits
            begun, obtain, remember = self._house.begun, self._supply.obtain, self._memory.remember
            slot = Slot(conversation, workspace, limits, begun, obtain, self._wall, remember)
            slot.used, slot.profile = self.clock(), self.profile
            self._slots[conversation] = slot
        return slot

    async def _drive(self, slot: Slot, run: Run) -> None:
        slot.used = self.clock()
        logs.about(conversation=slot.conversation, cell=run.cell)
        try:
            with tracing.within("execute", "server", conversation=slot.conversation, cell=run.cell) as span:
                closed = await drive(slot, run)
                span.tell(outcome=closed.outcome, rung=closed.rung, variables_kept=closed.variables_kept)
            self._count(run, closed)
        finally:
            self._runs.remove(slot.conversation, run)
            slot.used = self.clock()

    def _count(self, run: Run, closed: Closed) -> None:
        counts = self._ledger.counts
        counts.outcomes[outcomes.taxonomy(closed)] += 1
        if closed.rung is not Rung.NONE:
            counts.rungs[closed.rung] += 1
        counts.bytes_dropped += closed.dropped_bytes
        counts.bytes_out += run.outbox.used

    async def known(self, slot: Slot) -> None:
        """Waits until it is known whether an earlier life left this conversation a sandbox."""
        if not self._closing:
            with suppress(SandboxUnavailable):  # then there is none
                await self._house.begun(slot)

    async def end(self, slot: Slot, cause: str, reason: Reason, with_files: bool = False) -> None:
        """Stop what runs and waits, and end the sandbox without asking the code first."""
        await self.known(slot)
        for run in self._runs.of(slot.conversation):
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
