"""One run from its place in the queue to its Closed: made ready, handed over, watched, stopped by ever harder means."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import Any

from executor import files, words
from executor.cell import Cell, Ending
from executor.channel import Channel
from executor.lifecycle import Step
from executor.outbox import Outbox
from executor.sandbox.base import SandboxUnavailable
from executor.slot import Pressure, Slot
from executor.wire import Closed, FileChange, KernelState, Outcome, Started, Starting

log = logging.getLogger(__name__)

BEGIN_S = 0.5  # a signal that arrives before the code runs is ignored by the kernel: wait that long for it to begin
FULL = 0.8  # of the memory that a process may use: from here on a sudden end is put down to memory
PATIENCE_S = (2.0, 3.0)  # after the first and the second interrupt
RESTART_S = 3.0
GLANCE_ENTRIES, GLANCE_S = 200, 0.001  # of a workspace, that may be looked at while everybody else waits


def _future() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


@dataclass(slots=True, eq=False)
class Run:
    """One call of `Manager.run`. `stopped` is set by whoever wants it to end."""

    code: str
    timeout_s: float
    outbox: Outbox
    stopped: asyncio.Future[None] = field(default_factory=_future)
    reason: str = ""
    files_kept: bool = True

    def stop(self, reason: str = "", files_kept: bool = True) -> None:
        """A `reason` (as after "because") says that the sandbox goes away with the cell."""
        if not self.stopped.done():
            self.reason, self.files_kept = reason, files_kept
            self.stopped.set_result(None)


@dataclass(slots=True)
class _End:
    """How a cell that was handed over ended."""

    outcome: Outcome
    kept: bool
    words: str = ""
    count: int | None = None


async def drive(slot: Slot, run: Run) -> None:
    """Do it; the outbox's last event is a Closed, whatever happens."""
    try:
        closed = await _in_turn(slot, run)
        if not run.files_kept:
            closed = closed.model_copy(update={"files_kept": False})
    except Exception:
        log.exception("the run of a cell of conversation %s failed", slot.conversation)
        slot.drop()
        closed = _closed(Outcome.SANDBOX_LOST, False, words.ended(Outcome.SANDBOX_LOST, False, 0, 0))
    run.outbox.put(closed)


async def _in_turn(slot: Slot, run: Run) -> Closed:
    taking = asyncio.ensure_future(slot.turn.acquire())
    await asyncio.wait((taking, run.stopped), return_when=asyncio.FIRST_COMPLETED)
    if run.stopped.done():
        _give_back(slot, taking)
        return _not_run(run)
    try:
        return await _made_ready(slot, run)
    finally:
        slot.turn.release()


def _give_back(slot: Slot, taking: asyncio.Future[Any]) -> None:
    """Leave the queue; the turn may have come at this very moment."""
    taking.add_done_callback(lambda task: None if task.cancelled() else slot.turn.release())
    taking.cancel()


async def _made_ready(slot: Slot, run: Run) -> Closed:
    try:
        channel = await _channel(slot, run)
    except SandboxUnavailable as error:
        return _closed(Outcome.UNAVAILABLE, False, words.not_run(str(error)))
    if channel is None:
        return _not_run(run)
    return await _execute(slot, channel, run)


async def _channel(slot: Slot, run: Run) -> Channel | None:
    """The kernel; None when the run was stopped first."""
    if run.stopped.done():
        return None

    def tell(phase: str) -> None:
        run.outbox.put(Starting(phase=phase))

    slot.listeners.add(tell)
    try:
        ready = slot.ready()
        if isinstance(ready, Channel):
            return ready
        await asyncio.wait((ready, run.stopped), return_when=asyncio.FIRST_COMPLETED)
    finally:
        slot.listeners.discard(tell)
    if run.stopped.done():
        return None
    if ready.cancelled():
        raise SandboxUnavailable("The sandbox was removed while it was being started.")
    return ready.result()


async def _execute(slot: Slot, channel: Channel, run: Run) -> Closed:
    before = slot.pressure()
    run.outbox.put(Started(fresh=channel.fresh))
    slot.step(Step.RUN)
    began = time.monotonic()
    cell = channel.execute(run.code, run.outbox)
    end = await _ended(slot, channel, cell, run, before)
    if slot.state is KernelState.BUSY:
        slot.step(Step.DONE)
    elif slot.state is KernelState.RESTARTING:
        slot.ready()  # while the answer is being read, Python starts again
    duration = time.monotonic() - began
    run.outbox.flush_tail()
    return _closed(end.outcome, end.kept, end.words, end.count, duration, run.outbox.dropped, await _changed(slot))


async def _ended(slot: Slot, channel: Channel, cell: Cell, run: Run, before: Pressure) -> _End:
    await asyncio.wait((cell.ended, run.stopped), timeout=run.timeout_s, return_when=asyncio.FIRST_COMPLETED)
    if cell.ended.done():
        return _by_itself(slot, cell, run, before)
    outcome = Outcome.INTERRUPTED if run.stopped.done() else Outcome.TIMED_OUT
    forced = await _stop(slot, channel, cell)
    if cell.ended.result() is not Ending.REPLIED and not forced:
        return _by_itself(slot, cell, run, before)
    return _End(outcome, not forced, words.ended(outcome, not forced, slot.limits.memory, run.timeout_s), _count(cell))


async def _stop(slot: Slot, channel: Channel, cell: Cell) -> bool:
    """Climb until the cell has ended, at most 10 s. True when the variables had to go."""
    await _within(BEGIN_S, cell.ended, cell.begun)
    for patience in PATIENCE_S:
        if cell.ended.done():
            return False
        interrupting = asyncio.ensure_future(channel.interrupt())
        await _within(patience, cell.ended)
        interrupting.cancel()
    if cell.ended.done():
        return False
    # A cell that has not begun may still lie in the kernel's queue, where a restart would let it run.
    if not (cell.begun.done() and await channel.restart(RESTART_S)):
        slot.drop()
        channel.give_up()
    return True


async def _within(seconds: float, *futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)


def _by_itself(slot: Slot, cell: Cell, run: Run, before: Pressure) -> _End:
    """The outcome of a cell that nobody stopped."""
    ending = cell.ended.result()
    if ending is Ending.REPLIED:
        outcome, kept = _replied(cell), True
    elif run.reason:
        return _End(Outcome.INTERRUPTED, False, words.taken_away(run.reason, True, run.files_kept))
    else:
        outcome, kept = _died(slot, ending, before), False
        if ending is Ending.DIED and not cell.begun.done():
            slot.drop()  # the code may lie in a queue, and would be run by the next kernel
    return _End(outcome, kept, words.ended(outcome, kept, slot.limits.memory, run.timeout_s), _count(cell))


def _replied(cell: Cell) -> Outcome:
    reply = cell.reply or {}
    ename = reply.get("ename")
    match reply.get("status", "ok"):
        case "ok":
            return Outcome.OK
        case "aborted" | "abort":
            return Outcome.INTERRUPTED
        case _ if isinstance(ename, str) and ename.endswith("MemoryError"):
            return Outcome.OUT_OF_MEMORY
    return Outcome.ERROR


def _died(slot: Slot, ending: Ending, before: Pressure) -> Outcome:
    """Out of memory when a process was killed for it, or when Python ended just after it had filled what it may use:
    libraries that are refused memory abort."""
    now = slot.pressure()
    if now.kills is not None and now.kills > (before.kills or 0):
        return Outcome.OUT_OF_MEMORY
    if now.peak is not None and now.peak > max(before.peak or 0, FULL * slot.limits.data):
        return Outcome.OUT_OF_MEMORY
    return Outcome.KERNEL_DIED if ending is Ending.DIED else Outcome.SANDBOX_LOST


def _count(cell: Cell) -> int | None:
    count = (cell.reply or {}).get("execution_count")
    return count if isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 2**53 else None


async def _changed(slot: Slot) -> list[FileChange]:
    """A small workspace is looked through on the spot: a hop to a thread takes longer than the look."""
    now = files.snapshot(slot.workspace, GLANCE_ENTRIES, GLANCE_S)
    if not now.complete:
        now = await asyncio.to_thread(files.snapshot, slot.workspace)
    changes = files.changes(slot.files, now)
    slot.files = now
    return changes


def _not_run(run: Run) -> Closed:
    text = words.taken_away(run.reason, False, run.files_kept) if run.reason else words.STOPPED_BEFORE
    return _closed(Outcome.INTERRUPTED, not run.reason, text)


def _closed(
    outcome: Outcome,
    kept: bool,
    text: str,
    count: int | None = None,
    duration: float = 0.0,
    dropped: int = 0,
    changes: list[FileChange] | None = None,
) -> Closed:
    return Closed(
        outcome=outcome,
        execution_count=count,
        duration_s=duration,
        variables_kept=kept,
        files_kept=True,
        words=text,
        dropped_bytes=dropped,
        files=changes or [],
    )
