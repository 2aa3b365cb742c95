"""One turn as an operator sees it: what is counted of it, and its trace.

Fed with the turn's own events, so nothing is counted that was not told. The trace begins when the message arrives
(`arrived`), its root is the whole turn, and each request to the model and each cell is a child, named to whoever is asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from executor import logs, tracing
from orchestrator.agent.turn import AskModel, RunCode
from orchestrator.observability.counts import counts
from orchestrator.protocol import events as ev
from orchestrator.protocol.events import CellOutcome, CellPhase, StepFinish, TurnOutcome

FAILED = {TurnOutcome.MODEL_FAILED, TurnOutcome.SANDBOX_FAILED, TurnOutcome.LOST, None}
NO_KERNEL = {CellOutcome.UNAVAILABLE, CellOutcome.SANDBOX_LOST}
BROKEN_OFF = "broken_off"  # a turn that could not be stored, or whose runner failed: it is closed elsewhere, or never was


@dataclass(slots=True)
class Arrival:
    """A message that is to become a turn; `span` is the turn's, and ends with whoever has taken it."""

    at: float
    door: str
    span: tracing.Span
    taken: bool = False


_arrival: ContextVar[Arrival | None] = ContextVar("arrival", default=None)


@contextmanager
def arrived(door: str, conversation: str, turn: str) -> Iterator[None]:
    """A message has arrived; the turn that is opened in the block is its."""
    arrival = Arrival(time.monotonic(), door, tracing.root("turn", conversation=conversation, turn=turn, door=door))
    token, before = _arrival.set(arrival), tracing.current()
    tracing.enter(arrival.span)
    try:
        yield
    finally:
        tracing.enter(before)
        _arrival.reset(token)
        if not arrival.taken:
            arrival.span.tell(opened=False)
            arrival.span.end()


class TurnObserver:
    """Sees one turn. `begin` and `end` stand around it; both are called in the task that drives it."""

    def __init__(self, conversation: str, turn: str) -> None:
        arrival = _arrival.get()
        if arrival is None or arrival.taken:
            arrival = Arrival(time.monotonic(), "other", tracing.root("turn", conversation=conversation, turn=turn))
        arrival.taken = True
        self._arrival = arrival
        self._conversation = conversation
        self._turn = turn
        self._said = False  # the first word of the turn has come
        self._outcome: TurnOutcome | None = None
        self._span = tracing.NOTHING  # of what the turn is doing
        self._waiting = ""  # for the model's first token, or for the cell to run
        self._since = 0.0  # when that was begun

    def begin(self) -> None:
        logs.about(conversation=self._conversation, turn=self._turn)
        tracing.enter(self._arrival.span)
        counts.messages[self._arrival.door] += 1
        counts.open_turns += 1

    def end(self) -> None:
        counts.open_turns -= 1
        if self._outcome is None:
            counts.turns[BROKEN_OFF] += 1
        self._arrival.span.tell(outcome=self._outcome or BROKEN_OFF)
        self._arrival.span.end(failed=self._outcome in FAILED)

    @contextmanager
    def doing(self, effect: AskModel | RunCode) -> Iterator[None]:
        """For as long as the turn asks the model, or runs code."""
        name = "model" if isinstance(effect, AskModel) else "cell"
        with tracing.within(name, "client") as self._span:
            if isinstance(effect, RunCode):
                self._span.tell(cell=effect.cell)
            self._wait(name)
            try:
                yield
            finally:
                self._wait("")

    def saw(self, events: Sequence[ev.Event]) -> None:
        """What the turn has recorded."""
        for event in events:
            see = _SEEN.get(type(event))
            if see is not None:
                see(self, event)

    def _wait(self, what: str) -> None:
        counts.model_waiting += (what == "model") - (self._waiting == "model")
        counts.cells_waiting += (what == "cell") - (self._waiting == "cell")
        self._waiting = what
        if what:
            self._since = time.monotonic()

    def _delta(self, _: ev.TextDelta | ev.CodeDelta) -> None:
        if self._waiting != "model":
            return
        now = time.monotonic()
        counts.model_first_token.add(now - self._since)
        if not self._said:
            self._said = True
            counts.first_token.add(now - self._arrival.at)
        self._span.happened("first token")
        self._waiting = ""
        counts.model_waiting -= 1

    def _step(self, event: ev.StepClosed) -> None:
        counts.model_requests[event.finish] += 1
        counts.model_seconds.add(time.monotonic() - self._since)
        if event.finish is StepFinish.FAILED:
            counts.errors["model"] += 1
        self._span.tell(step=event.step, finish=event.finish)
        if event.usage is not None:
            told = (event.usage.prompt_tokens, event.usage.cached_tokens, event.usage.completion_tokens)
            for kind, number in zip(("prompt", "cached", "completion"), told, strict=True):
                if number is not None:
                    counts.tokens[kind] += number
                    self._span.tell(**{f"tokens_{kind}": number})

    def _progress(self, event: ev.CellProgress) -> None:
        if event.phase is CellPhase.RUNNING and self._waiting == "cell":
            counts.cell_start.add(time.monotonic() - self._since)
            self._span.happened("running")
            self._waiting = ""
            counts.cells_waiting -= 1

    def _cell(self, event: ev.CellClosed) -> None:
        counts.cells[event.outcome] += 1
        counts.cell_seconds.add(event.duration_s)
        if event.outcome in NO_KERNEL:
            counts.errors["kernel"] += 1
        self._span.tell(outcome=event.outcome, variables_kept=event.variables_kept)

    def _over(self, event: ev.TurnClosed) -> None:
        self._outcome = event.outcome
        counts.turns[event.outcome] += 1
        counts.turn_seconds.add(time.monotonic() - self._arrival.at)


_SEEN: dict[type, Callable[[TurnObserver, Any], None]] = {
    ev.TextDelta: TurnObserver._delta,
    ev.CodeDelta: TurnObserver._delta,
    ev.StepClosed: TurnObserver._step,
    ev.CellProgress: TurnObserver._progress,
    ev.CellClosed: TurnObserver._cell,
    ev.TurnClosed: TurnObserver._over,
}
