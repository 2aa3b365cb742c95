"""One run from its place in the queue to its Closed: made ready, handed over, watched, stopped by ever harder means."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import Any

from executor import outcomes, tracing, words
from executor.cell import Cell, Ending
from executor.channel import Channel
from executor.lifecycle import Reason, Step
from executor.outbox import Outbox
from executor.pressure import Pressure
from executor.questions import Questions, within
from executor.sandbox.base import SandboxUnavailable
from executor.slot import Slot
from executor.stopping import stop
from executor.wire import Closed, KernelState, Outcome, Rung, Started, Starting

log = logging.getLogger(__name__)

EVIDENCE_S = 4.0  # for what has ended by itself to show why


def _future() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


def _closing() -> asyncio.Future[Closed]:
    return asyncio.get_running_loop().create_future()


@dataclass(slots=True, eq=False)
class Run:
    """One call of `Manager.run`. `stopped` is set by whoever wants it to end; `questions` are there when it may ask any."""

    code: str
    timeout_s: float
    outbox: Outbox
    cell: str = ""
    questions: Questions | None = None
    fence: int | None = None  # of the lease by which it runs
    stopped: asyncio.Future[None] = field(default_factory=_future)
    closed: asyncio.Future[Closed] = field(default_factory=_closing)
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
    raised: str = ""
    rung: Rung = Rung.NONE


async def drive(slot: Slot, run: Run) -> Closed:
    """Do it; the outbox's last event is the Closed that is returned, whatever happens."""
    try:
        closed = await _in_turn(slot, run)
        if not run.files_kept:
            closed = closed.model_copy(update={"files_kept": False})
    except Exception:
        log.exception("the run of a cell of conversation %s failed", slot.conversation)
        slot.drop(Reason.GATEWAY_DIED)
        closed = _unrun(Outcome.SANDBOX_LOST, False, words.ended(Outcome.SANDBOX_LOST, False, 0, 0))
    run.outbox.put(closed)
    run.closed.set_result(closed)
    return closed


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
        return _unrun(Outcome.UNAVAILABLE, False, words.not_run(str(error)))
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
    if ready.cancelled() or (ready.exception() is None and slot.channel is not ready.result()):
        raise SandboxUnavailable("The sandbox was removed while it was being started.")
    return ready.result()


async def _execute(slot: Slot, channel: Channel, run: Run) -> Closed:
    before = slot.gauge.read()
    lost = slot.history.tell() if channel.fresh else None
    run.outbox.put(Started(fresh=channel.fresh, lost=words.lost(lost.reason) if lost else ""))
    slot.step(Step.RUN)
    began = time.monotonic()
    with tracing.within("run", fresh=channel.fresh) as span:
        cell = channel.execute(run.code, run.outbox, run.questions)
        end = await _ended(slot, channel, cell, run, before)
        span.tell(outcome=end.outcome)
    if slot.state is KernelState.BUSY:
        slot.step(Step.DONE)
    elif slot.state is KernelState.RESTARTING:
        slot.ready()  # while the answer is being read, Python starts again
    slot.finish()
    if not end.kept:
        slot.history.untold = None  # this cell's words say so
    duration = time.monotonic() - began
    run.outbox.flush_tail()
    spent = slot.gauge.spent(duration * slot.limits.cpus)
    changes = await slot.files.changed()
    return Closed(
        outcome=end.outcome,
        execution_count=_count(cell),
        duration_s=duration,
        variables_kept=end.kept,
        files_kept=True,
        words=end.words,
        dropped_bytes=run.outbox.dropped,
        files=changes,
        raised=end.raised,
        rung=end.rung,
        cpu_s=spent,
        disk=slot.gauge.disk,
    )


async def _ended(slot: Slot, channel: Channel, cell: Cell, run: Run, before: Pressure) -> _End:
    await within(run.timeout_s, run.questions, cell.ended, run.stopped)
    if cell.ended.done():
        if cell.ended.result() is Ending.LOST:
            await slot.gone(EVIDENCE_S)
        else:
            await slot.gauge.refresh()
        return _by_itself(slot, cell, run, before)
    outcome = Outcome.INTERRUPTED if run.stopped.done() else Outcome.TIMED_OUT
    rung = await stop(slot, channel, cell)
    await slot.gauge.refresh()
    if cell.ended.result() is not Ending.REPLIED and not outcomes.forced(rung):
        return _by_itself(slot, cell, run, before)
    kept = not outcomes.forced(rung)
    return _End(outcome, kept, words.ended(outcome, kept, slot.limits.memory, run.timeout_s), rung=rung)


def _by_itself(slot: Slot, cell: Cell, run: Run, before: Pressure) -> _End:
    """The outcome of a cell that nobody stopped."""
    ending = cell.ended.result()
    raised = ""
    if ending is Ending.REPLIED:
        (outcome, raised), kept = outcomes.replied(cell.reply or {}), True
    elif run.reason:
        return _End(Outcome.INTERRUPTED, False, words.taken_away(run.reason, True, run.files_kept))
    else:
        outcome, kept = outcomes.died(ending, slot.gauge.burst(before)), False
        if ending is Ending.DIED and not cell.begun.done():
            slot.drop(Reason.KERNEL_CRASH_LOOP)  # the code may lie in a queue, and would be run by the next kernel
    return _End(outcome, kept, words.ended(outcome, kept, slot.limits.memory, run.timeout_s), raised)


def _count(cell: Cell) -> int | None:
    count = (cell.reply or {}).get("execution_count")
    return count if isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 2**53 else None


def _not_run(run: Run) -> Closed:
    text = words.taken_away(run.reason, False, run.files_kept) if run.reason else words.STOPPED_BEFORE
    return _unrun(Outcome.INTERRUPTED, not run.reason, text)


def _unrun(outcome: Outcome, kept: bool, text: str) -> Closed:
    """A Closed for code that was never handed over, or whose end nobody saw."""
    return Closed(
        outcome=outcome, execution_count=None, duration_s=0.0, variables_kept=kept, files_kept=True, words=text, ran=False
    )
