"""A turn that was left open is closed honestly, from the log and the last checkpoint alone."""

from __future__ import annotations

from orchestrator.agent.recovery import closing_events
from orchestrator.protocol import events as ev
from orchestrator.protocol.events import CellOutcome, StepFinish, TurnOutcome
from orchestrator.protocol.outputs import TextOutput

OPENED = ev.TurnOpened(seq=1, turn="t", at=1.0, text="hi", via=ev.Via.BROWSER)
CODE = ev.WrittenCode(cell="t-0", code="x", opening="```python\n", closing="\n```")
STEP = ev.StepClosed(seq=2, turn="t", step=0, prose="", code=CODE, finish=StepFinish.CODE, error="", usage=None)
CELL = ev.CellOpened(seq=3, turn="t", cell="t-0", step=0, at=2.0)


def live(**changes: object) -> ev.Live:
    base = {"turn": "t", "step": 0, "prose": "", "code": None, "cell": None, "phase": None, "outputs": [], "n": 0}
    return ev.Live.model_validate({**base, "stopping": False, **changes})


def test_nothing_written_yet_closes_only_the_turn() -> None:
    (closed,) = closing_events("t", [OPENED], None, 9.0)
    assert (closed.type, closed.seq, closed.outcome) == ("turn.closed", 2, TurnOutcome.LOST)


def test_text_of_the_last_checkpoint_is_kept() -> None:
    step, closed = closing_events("t", [OPENED], live(prose="It is"), 9.0)
    assert (step.prose, step.finish, step.seq, closed.seq) == ("It is", StepFinish.LOST, 2, 3)


def test_half_written_code_is_kept_and_marked_as_lost() -> None:
    step, _ = closing_events("t", [OPENED], live(code="import", cell="t-0"), 9.0)
    assert step.code is not None and step.code.code == "import" and step.finish is StepFinish.LOST


def test_a_running_cell_is_closed_as_lost_with_the_output_that_is_known() -> None:
    printed = TextOutput(name="stdout", text="1\n", late=False)
    cell, closed = closing_events("t", [OPENED, STEP, CELL], live(cell="t-0", outputs=[printed], n=1), 9.0)
    assert cell.outcome is CellOutcome.LOST and cell.outputs == [printed] and not cell.variables_kept
    assert "not run again" in cell.words
    assert (cell.seq, closed.seq) == (4, 5)


def test_a_checkpoint_of_an_earlier_step_adds_nothing() -> None:
    ran = ev.CellClosed(
        seq=4, turn="t", cell="t-0", at=3.0, outcome=CellOutcome.OK, outputs=[], execution_count=1, duration_s=1.0,
        variables_kept=True, files_kept=True, fresh=False, words="", files=[],
    )  # fmt: skip
    (closed,) = closing_events("t", [OPENED, STEP, CELL, ran], live(cell="t-0", phase="running"), 9.0)
    assert closed.type == "turn.closed" and closed.seq == 5
