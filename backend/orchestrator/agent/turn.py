"""One turn of CodeAct, as data: what it is doing, what may happen next, and what that means.

    decide(turn, signal, now) -> events     what we say happened, given what the world says
    evolve(turn, event)       -> turn       the state after it; an event that does not fit raises and changes nothing
    pending(turn)             -> effect     what the turn now wants from the world, or None when it is over

No clock, no I/O, no waiting. The runner performs effects and feeds the signals back. The state is the fold of the events,
so a turn can be resumed, replayed or closed after a crash from the log alone.

Code runs after its step is closed. Running statements while the code is still being written would be a second
effect beside AskModel, opened by `WroteCode` and fed the same signals; nothing else here would change.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, assert_never

from executor import wire
from orchestrator.agent.observations import result_key
from orchestrator.protocol import events as ev
from orchestrator.protocol.events import CellOutcome, CellPhase, StepFinish, TurnOutcome
from orchestrator.protocol.outputs import Output, OutputOp

MAX_FRUITLESS = 3
"""Messages in a row that led nowhere (cut off, fabricated), or identical cells with identical results, before we stop."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one turn may use; at each limit the user can go on with Continue."""

    executions: int
    seconds: float
    tokens: int  # written by the model
    step_tokens: int  # in one message of the model
    cell_seconds: float


# ---- phases: each holds only what is true in it ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asking:
    """The model is to be asked, or has been and has written `prose` and perhaps code."""

    step: int
    asked: bool = False
    prose: str = ""
    opening: str | None = None  # None: no code action yet
    code: str = ""
    closing: str | None = None  # None: the code action is not complete
    fabricated: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """A code action is to be run, or runs. `n` counts its CellOutput events."""

    step: int
    cell: str
    code: str
    phase: CellPhase = CellPhase.QUEUED
    words: str = ""
    fresh: bool = False
    lost: str = ""
    n: int = 0


@dataclass(frozen=True, slots=True)
class Deciding:
    """A step or a cell has just been closed and the turn is not over: the next message is due."""

    step: int


@dataclass(frozen=True, slots=True)
class Closed:
    outcome: TurnOutcome


Phase = Asking | Running | Deciding | Closed

Why = Literal["user", "time", "shutdown"]


@dataclass(frozen=True, slots=True)
class Turn:
    """`variables`: earlier cells left variables that the model believes in. `last`/`same`: the last cell with its
    result, and how many times in a row it came out the same. `fruitless`: messages in a row that led nowhere."""

    id: str
    limits: Limits
    seq: int
    phase: Phase
    variables: bool
    stopping: Why | None = None
    executions: int = 0
    tokens: int = 0
    last: tuple[str, tuple[object, ...]] | None = None
    same: int = 0
    fruitless: int = 0

    @property
    def tokens_left(self) -> int:
        return max(0, self.limits.tokens - self.tokens)


def opened(event: ev.TurnOpened, limits: Limits, variables: bool) -> Turn:
    """The turn that a stored `turn.opened` begins."""
    return Turn(id=event.turn, limits=limits, seq=event.seq, phase=Asking(step=0), variables=variables)


# ---- signals: what the world says ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """The request to the model has gone out."""


@dataclass(frozen=True, slots=True)
class Wrote:
    text: str


@dataclass(frozen=True, slots=True)
class OpenedCode:
    opening: str


@dataclass(frozen=True, slots=True)
class WroteCode:
    text: str


@dataclass(frozen=True, slots=True)
class ClosedCode:
    closing: str


@dataclass(frozen=True, slots=True)
class WroteObservation:
    """The model began to write what only a run can tell."""


@dataclass(frozen=True, slots=True)
class ModelEnded:
    """The message is over. `cut`: by the token limit. `tokens`: written, as counted by the server or estimated. `error`:
    why its code action cannot be read, for the model."""

    cut: bool
    usage: ev.Usage | None
    tokens: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class ModelFailed:
    words: str


@dataclass(frozen=True, slots=True)
class CellMoved:
    phase: CellPhase
    words: str = ""
    fresh: bool = False
    lost: str = ""


@dataclass(frozen=True, slots=True)
class CellPrinted:
    ops: tuple[OutputOp, ...]


@dataclass(frozen=True, slots=True)
class CellEnded:
    closed: wire.Closed
    outputs: tuple[Output, ...]


@dataclass(frozen=True, slots=True)
class StopHeard:
    why: Why


@dataclass(frozen=True, slots=True)
class ModelStopped:
    """The request was aborted because the turn is stopping."""

    tokens: int


Signal = (
    Asked
    | Wrote
    | OpenedCode
    | WroteCode
    | ClosedCode
    | WroteObservation
    | ModelEnded
    | ModelFailed
    | CellMoved
    | CellPrinted
    | CellEnded
    | StopHeard
    | ModelStopped
)


# ---- effects: what the turn wants ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AskModel:
    """`vary`: the last cells were the same with the same result; greedy decoding would only repeat itself again."""

    step: int
    max_tokens: int
    vary: bool


@dataclass(frozen=True, slots=True)
class RunCode:
    cell: str
    code: str
    timeout_s: float


Effect = AskModel | RunCode


def pending(turn: Turn) -> Effect | None:
    match turn.phase:
        case Asking(step=step) | Deciding(step=step):
            return AskModel(step, min(turn.limits.step_tokens, turn.tokens_left), vary=turn.same > 0)
        case Running(cell=cell, code=code):
            return RunCode(cell, code, turn.limits.cell_seconds)
        case Closed():
            return None
        case _:
            assert_never(turn.phase)


# ---- decide ----------------------------------------------------------------------------------------------------------


class Illegal(Exception):
    """A signal or an event that does not fit the turn's phase; nothing has changed."""


def cell_id(turn: str, step: int) -> str:
    """Ids of cells follow from the turn, so that nothing random is needed: at most 64 characters."""
    return f"{turn[:56]}-{step}"


def decide(turn: Turn, signal: Signal, now: float) -> list[ev.Event]:
    """What happened, in order. Raises Illegal when the signal does not fit the phase."""
    match turn.phase, signal:
        case (Closed(), _):
            return []
        case (_, StopHeard()):
            return [] if turn.stopping else [ev.TurnStopping(turn=turn.id)]
        case (Asking(asked=False) | Deciding(), Asked()):
            return [ev.StepOpened(turn=turn.id, step=turn.phase.step)]
        case (Asking(asked=False) | Deciding(), ModelStopped()):
            return [_turn_closed(turn, 1, now, *_stop_outcome(turn))]
        case (Asking(asked=True) as asking, _):
            return _while_asking(heard(turn, signal), asking, signal, now)
        case (Running() as running, _):
            return _while_running(turn, running, signal, now)
        case _:
            raise Illegal(f"{type(signal).__name__} in {type(turn.phase).__name__}")


def _while_asking(turn: Turn, asking: Asking, signal: Signal, now: float) -> list[ev.Event]:
    match signal:
        case Wrote(text=text):
            return [ev.TextDelta(turn=turn.id, step=asking.step, offset=len(asking.prose), text=text)]
        case OpenedCode() | WroteCode():
            text = signal.text if isinstance(signal, WroteCode) else ""
            cell = cell_id(turn.id, asking.step)
            return [ev.CodeDelta(turn=turn.id, step=asking.step, cell=cell, offset=len(asking.code), text=text)]
        case ClosedCode() | WroteObservation():
            return []
        case ModelEnded() | ModelStopped() if turn.stopping:
            return _stopped_step(turn, asking, now)
        case ModelEnded(cut=cut):
            return _end_of_step(turn, asking, _finish(asking, cut), signal, now)
        case ModelFailed(words=words):
            return [
                _step_closed(turn, asking, StepFinish.FAILED, None, words),
                _turn_closed(turn, 2, now, TurnOutcome.MODEL_FAILED, words),
            ]
        case _:
            raise Illegal(f"{type(signal).__name__} while the model writes")


def _finish(asking: Asking, cut: bool) -> StepFinish:
    if asking.closing is not None:
        return StepFinish.CODE
    if asking.fabricated:
        return StepFinish.FABRICATED
    if cut or asking.opening is not None:
        return StepFinish.CUT_OFF
    return StepFinish.ANSWER


def _end_of_step(turn: Turn, asking: Asking, finish: StepFinish, end: ModelEnded, now: float) -> list[ev.Event]:
    step = _step_closed(turn, asking, finish, end.usage, end.error)
    match finish:
        case StepFinish.CODE:
            cell = cell_id(turn.id, asking.step)
            return [step, ev.CellOpened(seq=turn.seq + 2, turn=turn.id, cell=cell, step=asking.step, at=now)]
        case StepFinish.ANSWER if asking.prose.strip():
            return [step, _turn_closed(turn, 2, now, TurnOutcome.ANSWERED, "")]
        case StepFinish.ANSWER:
            words = "The model ended its message without writing anything. Continue, or ask in other words."
            return [step, _turn_closed(turn, 2, now, TurnOutcome.MODEL_FAILED, words)]
        case StepFinish.CUT_OFF if asking.opening is None:
            words = f"The answer was cut off after {turn.limits.step_tokens} tokens, the most one message may have."
            return [step, _turn_closed(turn, 2, now, TurnOutcome.TOKEN_LIMIT, words)]
        case _ if turn.fruitless + 1 >= MAX_FRUITLESS:
            words = f"The model wrote {MAX_FRUITLESS} messages in a row that could not be run, so the turn was ended."
            return [step, _turn_closed(turn, 2, now, TurnOutcome.REPEATING, words)]
        case _:
            return [step, *_limit(turn, 2, now)]


def _stopped_step(turn: Turn, asking: Asking, now: float) -> list[ev.Event]:
    if not asking.prose and asking.opening is None:
        return [_turn_closed(turn, 1, now, *_stop_outcome(turn))]
    return [
        _step_closed(turn, asking, StepFinish.STOPPED, None, ""),
        _turn_closed(turn, 2, now, *_stop_outcome(turn)),
    ]


def _step_closed(turn: Turn, asking: Asking, finish: StepFinish, usage: ev.Usage | None, error: str) -> ev.StepClosed:
    code = None
    if asking.opening is not None:
        code = ev.WrittenCode(
            cell=cell_id(turn.id, asking.step), code=asking.code, opening=asking.opening, closing=asking.closing or ""
        )
    return ev.StepClosed(
        seq=turn.seq + 1, turn=turn.id, step=asking.step, prose=asking.prose, code=code, finish=finish, error=error,
        usage=usage,
    )  # fmt: skip


def _while_running(turn: Turn, running: Running, signal: Signal, now: float) -> list[ev.Event]:
    match signal:
        case CellMoved(phase=phase, words=words):
            return [ev.CellProgress(turn=turn.id, cell=running.cell, phase=phase, words=words)]
        case CellPrinted(ops=ops):
            return [ev.CellOutput(turn=turn.id, cell=running.cell, n=running.n, ops=list(ops))]
        case CellEnded(closed=closed, outputs=outputs):
            return _end_of_cell(turn, running, closed, outputs, now)
        case _:
            raise Illegal(f"{type(signal).__name__} while code runs")


def _end_of_cell(
    turn: Turn, running: Running, closed: wire.Closed, outputs: tuple[Output, ...], now: float
) -> list[ev.Event]:
    outcome = CellOutcome(closed.outcome.value)
    cell = ev.CellClosed(
        seq=turn.seq + 1, turn=turn.id, cell=running.cell, at=now, outcome=outcome, outputs=list(outputs),
        execution_count=closed.execution_count, duration_s=closed.duration_s, variables_kept=closed.variables_kept,
        files_kept=closed.files_kept, fresh=running.fresh, lost=running.lost, words=closed.words,
        files=list(closed.files),
    )  # fmt: skip
    if turn.stopping:
        return [cell, _turn_closed(turn, 2, now, *_stop_outcome(turn))]
    if outcome is CellOutcome.UNAVAILABLE:
        return [cell, _turn_closed(turn, 2, now, TurnOutcome.SANDBOX_FAILED, closed.words)]
    if _again(turn, running.code, outcome, outputs) + 1 >= MAX_FRUITLESS:
        words = f"The same code came out the same {MAX_FRUITLESS} times in a row, so the turn was ended."
        return [cell, _turn_closed(turn, 2, now, TurnOutcome.REPEATING, words)]
    return [cell, *_limit(turn, 2, now, executions=turn.executions + 1)]


def _again(turn: Turn, code: str, outcome: CellOutcome, outputs: tuple[Output, ...]) -> int:
    """How many cells in a row before this one were the same and came out the same."""
    return turn.same + 1 if turn.last == (code, result_key(outcome, outputs)) else 0


def _limit(turn: Turn, ahead: int, now: float, executions: int | None = None) -> list[ev.Event]:
    """The `turn.closed` of the limit that is reached, if one is."""
    if turn.stopping:
        return [_turn_closed(turn, ahead, now, *_stop_outcome(turn))]
    if (turn.executions if executions is None else executions) >= turn.limits.executions:
        words = f"The turn has run {turn.limits.executions} cells, the most it may without asking you."
        return [_turn_closed(turn, ahead, now, TurnOutcome.EXECUTION_LIMIT, words)]
    if turn.tokens_left < 16:
        words = f"The turn has used its {turn.limits.tokens} tokens."
        return [_turn_closed(turn, ahead, now, TurnOutcome.TOKEN_LIMIT, words)]
    return []


def _turn_closed(turn: Turn, ahead: int, now: float, outcome: TurnOutcome, words: str) -> ev.TurnClosed:
    return ev.TurnClosed(seq=turn.seq + ahead, turn=turn.id, at=now, outcome=outcome, words=words)


def _stop_outcome(turn: Turn) -> tuple[TurnOutcome, str]:
    match turn.stopping:
        case "time":
            minutes = turn.limits.seconds / 60
            return TurnOutcome.TIME_LIMIT, f"The turn has taken {minutes:.0f} minutes, the most it may."
        case "shutdown":
            return TurnOutcome.LOST, "The server was stopped while it worked on this. Nothing stored is lost."
        case _:
            return TurnOutcome.STOPPED, "You stopped this."


# ---- evolve ----------------------------------------------------------------------------------------------------------


def advance(turn: Turn, signal: Signal, now: float) -> tuple[Turn, list[ev.Event]]:
    """decide, then fold: the turn after `signal`, and what happened."""
    events = decide(turn, signal, now)
    turn = heard(turn, signal)
    for event in events:
        turn = evolve(turn, event)
    return turn, events


def evolve(turn: Turn, event: ev.Event) -> Turn:
    """The turn after `event`. Raises Illegal, and changes nothing, where it does not fit."""
    match turn.phase, event:
        case (Asking(asked=False) | Deciding(), ev.StepOpened(step=step)):
            return replace(turn, phase=Asking(step=step, asked=True))
        case (Asking() as asking, ev.TextDelta(text=text)):
            return replace(turn, phase=replace(asking, prose=asking.prose + text))
        case (Asking() as asking, ev.CodeDelta(text=text)):
            return replace(turn, phase=replace(asking, opening=asking.opening or "", code=asking.code + text))
        case (Asking() | Deciding(), ev.StepClosed()):
            return _after_step(turn, event)
        case (Deciding(), ev.CellOpened(cell=cell, step=step)):
            raise Illegal(f"cell {cell} of step {step} has no code")
        case (Running() as running, ev.CellOpened(cell=cell)) if running.cell == cell:
            return replace(turn, seq=event.seq)
        case (Running() as running, ev.CellProgress(phase=phase, words=words)):
            return replace(turn, phase=replace(running, phase=phase, words=words))
        case (Running() as running, ev.CellOutput(n=n)):
            return replace(turn, phase=replace(running, n=n + 1))
        case (Running() as running, ev.CellClosed()):
            return _after_cell(turn, running, event)
        case (_, ev.TurnStopping() | ev.KernelChanged()):
            return turn
        case (Asking() | Deciding(), ev.TurnClosed(outcome=outcome, seq=seq)):
            return replace(turn, seq=seq, phase=Closed(outcome))
        case _:
            raise Illegal(f"{event.type} in {type(turn.phase).__name__}")


def heard(turn: Turn, signal: Signal) -> Turn:
    """What a signal changes that no event carries: the exact tags, tokens used, why the turn is to stop."""
    match signal, turn.phase:
        case (StopHeard(why=why), _):
            return turn if turn.stopping else replace(turn, stopping=why)
        case (OpenedCode(opening=opening), Asking() as asking):
            return replace(turn, phase=replace(asking, opening=opening))
        case (ClosedCode(closing=closing), Asking() as asking):
            return replace(turn, phase=replace(asking, closing=closing))
        case (WroteObservation(), Asking() as asking):
            return replace(turn, phase=replace(asking, fabricated=True))
        case (ModelEnded(tokens=tokens) | ModelStopped(tokens=tokens), Asking()):
            return replace(turn, tokens=turn.tokens + tokens)
        case (CellMoved(fresh=True, lost=lost), Running() as running):
            return replace(turn, phase=replace(running, fresh=turn.variables, lost=lost))
        case _:
            return turn


def _after_step(turn: Turn, event: ev.StepClosed) -> Turn:
    if event.finish is StepFinish.CODE and event.code is not None:
        phase: Phase = Running(step=event.step, cell=event.code.cell, code=event.code.code)
        return replace(turn, seq=event.seq, phase=phase, fruitless=0)
    return replace(turn, seq=event.seq, phase=Deciding(event.step + 1), fruitless=turn.fruitless + 1)


def _after_cell(turn: Turn, running: Running, event: ev.CellClosed) -> Turn:
    outputs = tuple(event.outputs)
    return replace(
        turn,
        seq=event.seq,
        phase=Deciding(running.step + 1),
        variables=event.variables_kept,
        executions=turn.executions + 1,
        same=_again(turn, running.code, event.outcome, outputs),
        last=(running.code, result_key(event.outcome, outputs)),
    )
