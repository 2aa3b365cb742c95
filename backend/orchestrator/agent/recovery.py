"""How a turn that its owner left open is closed, honestly, from the log alone.

Nothing is run again: code that was running may have had effects that we cannot see, so the cell is closed as lost and
both the user and the model are told so.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.protocol import events as ev
from orchestrator.protocol.events import CellOutcome, StepFinish, TurnOutcome

CELL_WORDS = (
    "The server went away while this cell was running, and the cell was not run again. "
    "The variables are gone; files are kept."
)
STOPPED_WORDS = (
    "The server went away while this cell was running. The cell was stopped, and was not run again. "
    "Variables and files are kept as it left them."
)
TURN_WORDS = "The server went away while it worked on this. What had been stored is still here; continue when you like."


def closing_events(
    turn: str, events: Sequence[ev.DurableEvent], live: ev.Live | None, now: float, variables_kept: bool = False
) -> list[ev.DurableEvent]:
    """The events that close `turn`, given all events of its conversation and its last checkpoint. `variables_kept`: the
    kernel has outlived the server, and what it ran has been stopped."""
    seq = events[-1].seq if events else 0
    mine = [event for event in events if event.turn == turn]
    closing: list[ev.DurableEvent] = []
    match mine[-1] if mine else None:
        case ev.CellOpened(cell=cell, at=at):
            closing.append(_lost_cell(seq + 1, turn, cell, at, live, now, variables_kept))
        case ev.TurnOpened() | ev.CellClosed() | ev.StepClosed():
            closing.extend(_lost_step(seq + 1, turn, _next_step(mine), live))
        case _:
            pass
    last = seq + len(closing) + 1
    return [*closing, ev.TurnClosed(seq=last, turn=turn, at=now, outcome=TurnOutcome.LOST, words=TURN_WORDS)]


def _next_step(mine: Sequence[ev.DurableEvent]) -> int:
    return sum(isinstance(event, ev.StepClosed) for event in mine)


def _lost_cell(seq: int, turn: str, cell: str, at: float, live: ev.Live | None, now: float, kept: bool) -> ev.CellClosed:
    outputs = live.outputs if live is not None and live.cell == cell else []
    return ev.CellClosed(
        seq=seq, turn=turn, cell=cell, at=now, outcome=CellOutcome.LOST, outputs=outputs, execution_count=None,
        duration_s=max(0.0, now - at),
        variables_kept=kept, files_kept=True, fresh=False,
        words=STOPPED_WORDS if kept else CELL_WORDS, files=[],
    )  # fmt: skip


def _lost_step(seq: int, turn: str, step: int, live: ev.Live | None) -> list[ev.DurableEvent]:
    """What the model had written of the open step, if the checkpoint knows of any."""
    if live is None or live.step != step or not (live.prose or live.code):
        return []
    code = None
    if live.code is not None and live.cell is not None:
        code = ev.WrittenCode(cell=live.cell, code=live.code, opening="", closing="")
    return [
        ev.StepClosed(
            seq=seq, turn=turn, step=step, prose=live.prose, code=code, finish=StepFinish.LOST, error="", usage=None
        )
    ]
