"""Events into view, by the laws in `view.py`. `frontend/src/conversation/fold.ts` does the same, step by step.

What those laws leave open is decided here: a durable event that skips a `seq` is not applied and sets `gap`; one that fits
nothing (an unknown turn, a step that is closed already) moves `seq` and nothing else. `cell.opened` makes a cell queued.
Stopping outlasts steps and cells, until the turn is closed. What was being written when a turn is closed, and no durable
event tells, is gone: those who join later cannot see it either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, assert_never

from orchestrator.protocol import events as ev
from orchestrator.protocol.base import Value
from orchestrator.protocol.events import CellPhase, DurableEvent, Event, Live, StepFinish
from orchestrator.protocol.outputs import apply_ops
from orchestrator.protocol.view import EMPTY, Cell, CellState, Item, Kernel, Prose, Turn, TurnState, View

_HANDED_OVER = frozenset({CellState.QUEUED, CellState.STARTING, CellState.RUNNING})
_ENDED = frozenset({CellState.CLOSED, CellState.NOT_RUN})
_V = TypeVar("_V", bound=Value)


class _Gap(Exception):
    """Something was missed."""


def fold(events: Iterable[Event], live: Live | None = None) -> View:
    """The view after `events`, and what `live` adds to it."""
    view = EMPTY
    for event in events:
        view = apply(view, event)
    return view if live is None else apply_live(view, live)


def apply(view: View, event: Event) -> View:
    """The view after one more event."""
    try:
        match event:
            case ev.TurnOpened() | ev.StepClosed() | ev.CellOpened() | ev.CellClosed() | ev.TurnClosed():
                return _durable(view, event)
            case ev.StepOpened():
                return _in_turn(view, event.turn, lambda turn: _step_opened(turn, event.step))
            case ev.TextDelta():
                return _in_turn(view, event.turn, lambda turn: _text(turn, event.step, event.offset, event.text))
            case ev.CodeDelta():
                return _in_turn(view, event.turn, lambda turn: _code(turn, event))
            case ev.CellProgress():
                return _in_turn(view, event.turn, lambda turn: _progress(turn, event))
            case ev.CellOutput():
                return _in_turn(view, event.turn, lambda turn: _output(turn, event))
            case ev.TurnStopping():
                return _in_turn(view, event.turn, lambda turn: _set(turn, state=TurnState.STOPPING))
            case ev.KernelChanged():
                return _set(view, kernel=_kernel(event))
            case _:
                assert_never(event)
    except _Gap:
        return _set(view, gap=True)


# ---- durable events --------------------------------------------------------------------------------------------------


def _durable(view: View, event: DurableEvent) -> View:
    if event.seq <= view.seq:
        return view
    if event.seq > view.seq + 1:
        raise _Gap
    view = _set(view, seq=event.seq)
    match event:
        case ev.TurnOpened():
            return _turn_opened(view, event)
        case ev.StepClosed():
            return _in_turn(view, event.turn, lambda turn: _step_closed(turn, event))
        case ev.CellOpened():
            return _in_turn(view, event.turn, lambda turn: _cell_opened(turn, event))
        case ev.CellClosed():
            return _in_turn(view, event.turn, lambda turn: _cell_closed(turn, event))
        case ev.TurnClosed():
            return _in_turn(view, event.turn, lambda turn: _turn_closed(turn, event))
        case _:
            assert_never(event)


def _turn_opened(view: View, event: ev.TurnOpened) -> View:
    if any(turn.turn == event.turn for turn in view.turns):
        return view
    turn = Turn(
        turn=event.turn, text=event.text, via=event.via, opened_at=event.at, closed_at=None, state=TurnState.WAITING,
        items=[], next_step=0, outcome=None, words="", error="",
    )  # fmt: skip
    return _set(view, turns=[*view.turns, turn])


def _step_closed(turn: Turn, event: ev.StepClosed) -> Turn:
    if event.step < turn.next_step:
        return turn
    items = [item for item in turn.items if item.step != event.step]
    if event.prose:
        items.append(Prose(step=event.step, text=event.prose, finish=event.finish))
    runs = event.finish is StepFinish.CODE
    if event.code is not None:
        state = CellState.WRITTEN if runs else CellState.NOT_RUN
        cell = _new_cell(event.step, event.code.cell, event.code.code)
        items.append(_set(cell, state=state, finish=event.finish))
    turn = _set(turn, items=items, next_step=event.step + 1, error=event.error)
    return _go(turn, TurnState.RUNNING if runs else TurnState.WAITING)


def _cell_opened(turn: Turn, event: ev.CellOpened) -> Turn:
    cell = _find_cell(turn, event.cell)
    if cell is None or cell.state in _ENDED:
        return turn
    return _go(_replace(turn, cell, _set(cell, state=CellState.QUEUED, started_at=event.at)), TurnState.RUNNING)


def _cell_closed(turn: Turn, event: ev.CellClosed) -> Turn:
    cell = _find_cell(turn, event.cell)
    if cell is None or cell.state in _ENDED:
        return turn
    closed = _set(
        cell, state=CellState.CLOSED, phase_words="", outcome=event.outcome, outputs=event.outputs, n=-1,
        execution_count=event.execution_count, duration_s=event.duration_s, variables_kept=event.variables_kept,
        files_kept=event.files_kept, fresh=event.fresh, lost=event.lost, words=event.words, files=event.files,
    )  # fmt: skip
    return _go(_replace(turn, cell, closed), TurnState.WAITING)


def _turn_closed(turn: Turn, event: ev.TurnClosed) -> Turn:
    items = [item for item in turn.items if item.finish is not None]
    return _set(
        turn, state=TurnState.CLOSED, closed_at=event.at, items=items, outcome=event.outcome, words=event.words
    )  # fmt: skip


# ---- live events -----------------------------------------------------------------------------------------------------


def _step_opened(turn: Turn, step: int) -> Turn:
    if step < turn.next_step or any(item.step == step for item in turn.items):
        return turn
    return _go(turn, TurnState.WAITING)


def _text(turn: Turn, step: int, offset: int, text: str) -> Turn:
    if not _is_due(turn, step):
        return turn
    known = next((item for item in turn.items if isinstance(item, Prose) and item.step == step), None)
    new = _new_part(known.text if known else "", offset, text)
    if not new:
        return turn
    if known:
        return _go(_replace(turn, known, _set(known, text=known.text + new)), TurnState.WRITING)
    prose = Prose(step=step, text=new, finish=None)
    return _go(_set(turn, items=[*turn.items, prose]), TurnState.WRITING)


def _code(turn: Turn, event: ev.CodeDelta) -> Turn:
    if not _is_due(turn, event.step):
        return turn
    known = next((item for item in turn.items if isinstance(item, Cell) and item.step == event.step), None)
    if known is not None and known.cell != event.cell:
        return turn
    new = _new_part(known.code if known else "", event.offset, event.text)
    if known is None:
        cell = _new_cell(event.step, event.cell, new)
        return _go(_set(turn, items=[*turn.items, cell]), TurnState.WRITING)
    return _go(_replace(turn, known, _set(known, code=known.code + new)), TurnState.WRITING) if new else turn


def _progress(turn: Turn, event: ev.CellProgress) -> Turn:
    cell = _find_cell(turn, event.cell)
    if cell is None or cell.state in _ENDED:
        return turn
    moved = _set(cell, state=CellState(event.phase.value), phase_words=event.words)
    return _go(_replace(turn, cell, moved), TurnState.RUNNING)


def _output(turn: Turn, event: ev.CellOutput) -> Turn:
    cell = _find_cell(turn, event.cell)
    if cell is None or cell.state in _ENDED or event.n < cell.n:
        return turn
    if event.n > cell.n:
        raise _Gap
    shown = _set(cell, outputs=apply_ops(cell.outputs, event.ops), n=cell.n + 1)
    return _go(_replace(turn, cell, shown), TurnState.RUNNING)


def _is_due(turn: Turn, step: int) -> bool:
    """Whether the step is the one being written; False for closed ones."""
    if step > turn.next_step:
        raise _Gap
    return step == turn.next_step


def _new_part(known: str, offset: int, text: str) -> str:
    if offset > len(known):
        raise _Gap
    return text[len(known) - offset :]


# ---- joining late ----------------------------------------------------------------------------------------------------


def apply_live(view: View, live: Live) -> View:
    """The view of the durable events, with what a page's `live` adds to it."""
    return _in_turn(view, live.turn, lambda turn: _with_live(turn, live))


def _with_live(turn: Turn, live: Live) -> Turn:
    if live.stopping:
        turn = _set(turn, state=TurnState.STOPPING)
    if live.cell is not None and live.phase is not None:
        cell = _find_cell(turn, live.cell)
        if cell is None or cell.state in _ENDED or live.n < cell.n:
            return turn
        state = CellState(live.phase.value)
        shown = _set(cell, state=state, phase_words=live.words, outputs=live.outputs, n=live.n)
        return _go(_replace(turn, cell, shown), TurnState.RUNNING)
    if live.step != turn.next_step:
        return turn
    turn = _text(turn, live.step, 0, live.prose)
    if live.cell is None or live.code is None:
        return turn
    return _code(turn, ev.CodeDelta(turn=live.turn, step=live.step, cell=live.cell, offset=0, text=live.code))


def live_of(view: View, turn: str) -> Live | None:
    """What of an open turn no durable event says yet; None when the turn is closed or unknown."""
    index = _find_open(view, turn)
    if index is None:
        return None
    found = view.turns[index]
    prose = next((item.text for item in found.items if isinstance(item, Prose) and item.finish is None), "")
    cell = next((item for item in found.items if isinstance(item, Cell) and item.finish is None), None)
    running = next((item for item in found.items if isinstance(item, Cell) and item.state in _HANDED_OVER), None)
    shown = running or cell
    return Live(
        turn=turn,
        step=running.step if running else found.next_step,
        prose=prose,
        code=cell.code if cell else None,
        cell=shown.cell if shown else None,
        phase=CellPhase(running.state.value) if running else None,
        words=running.phase_words if running else "",
        outputs=running.outputs if running else [],
        n=running.n if running else 0,
        stopping=found.state is TurnState.STOPPING,
    )


# ---- helpers ---------------------------------------------------------------------------------------------------------


def _in_turn(view: View, id: str, change: Callable[[Turn], Turn]) -> View:
    """Change an open turn; nothing happens to one that is closed or unknown."""
    index = _find_open(view, id)
    if index is None:
        return view
    changed = change(view.turns[index])
    if changed is view.turns[index]:
        return view
    return _set(view, turns=[*view.turns[:index], changed, *view.turns[index + 1 :]])


def _find_open(view: View, id: str) -> int | None:
    for index in range(len(view.turns) - 1, -1, -1):
        if view.turns[index].turn == id:
            return index if view.turns[index].state is not TurnState.CLOSED else None
    return None


def _find_cell(turn: Turn, id: str) -> Cell | None:
    return next((item for item in reversed(turn.items) if isinstance(item, Cell) and item.cell == id), None)


def _replace(turn: Turn, old: Item, new: Item) -> Turn:
    items: Sequence[Item] = turn.items
    return _set(turn, items=[new if item is old else item for item in items])


def _go(turn: Turn, state: TurnState) -> Turn:
    """On to another state; a stopping turn stays stopping."""
    return turn if turn.state in (TurnState.STOPPING, state) else _set(turn, state=state)


def _new_cell(step: int, id: str, code: str) -> Cell:
    return Cell(
        step=step, cell=id, code=code, state=CellState.WRITING, phase_words="", finish=None, started_at=None,
        outcome=None, outputs=[], n=0, execution_count=None, duration_s=None, variables_kept=True, files_kept=True,
        fresh=False, lost="", words="", files=[],
    )  # fmt: skip


def _kernel(event: ev.KernelChanged) -> Kernel:
    return Kernel(state=event.state, words=event.words, memory_used=event.memory_used, memory_limit=event.memory_limit)


def _set(value: _V, **changes: Any) -> _V:
    return value.model_copy(update=changes)
