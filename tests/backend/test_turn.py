"""The turn as a state machine: what follows from what."""

from __future__ import annotations

import pytest

from executor import wire
from orchestrator.agent import turn as t
from orchestrator.protocol import events as ev
from orchestrator.protocol.events import CellOutcome, StepFinish, TurnOutcome
from orchestrator.protocol.outputs import TextOutput

LIMITS = t.Limits(executions=3, seconds=60, tokens=1000, step_tokens=200, cell_seconds=10)


def opened(limits: t.Limits = LIMITS, variables: bool = False) -> t.Turn:
    event = ev.TurnOpened(seq=5, turn="t1", at=1.0, text="hi", via=ev.Via.BROWSER)
    return t.opened(event, limits, variables)


def play(turn: t.Turn, *signals: t.Signal) -> tuple[t.Turn, list[ev.Event]]:
    told: list[ev.Event] = []
    for signal in signals:
        turn, events = t.advance(turn, signal, 2.0)
        told += events
    return turn, told


def ended(outcome: wire.Outcome = wire.Outcome.OK, kept: bool = True, text: str = "") -> t.CellEnded:
    outputs = (TextOutput(name="stdout", text=text, late=False),) if text else ()
    closed = wire.Closed(outcome=outcome, execution_count=1, duration_s=0.1, variables_kept=kept, files_kept=True, words="")
    return t.CellEnded(closed, outputs)


def code(text: str) -> tuple[t.Signal, ...]:
    return (t.Asked(), t.OpenedCode("```python\n"), t.WroteCode(text), t.ClosedCode("\n```"), t.ModelEnded(False, None, 9))


def facts(events: list[ev.Event]) -> list[ev.Event]:
    return [event for event in events if hasattr(event, "seq")]


def test_a_plain_answer_closes_the_turn() -> None:
    turn, told = play(opened(), t.Asked(), t.Wrote("It is "), t.Wrote("4."), t.ModelEnded(False, None, 3))
    assert [event.type for event in told] == ["step.opened", "text.delta", "text.delta", "step.closed", "turn.closed"]
    assert told[2].offset == len("It is ")
    assert told[3].prose == "It is 4." and told[3].finish is StepFinish.ANSWER
    assert [event.seq for event in facts(told)] == [6, 7]
    assert turn.phase == t.Closed(TurnOutcome.ANSWERED) and t.pending(turn) is None


def test_code_is_stored_before_it_is_run_and_its_result_asks_the_model_again() -> None:
    turn, told = play(opened(), *code("print(1)"))
    assert [event.type for event in facts(told)] == ["step.closed", "cell.opened"]
    assert told[-2].code.code == "print(1)" and told[-2].code.closing == "\n```"
    assert t.pending(turn) == t.RunCode("t1-0", "print(1)", 10)
    turn, told = play(turn, t.CellMoved(t.CellPhase.RUNNING), ended(text="1\n"))
    assert facts(told)[0].outcome is CellOutcome.OK
    assert t.pending(turn) == t.AskModel(1, 200, vary=False)


def test_code_cut_by_the_token_limit_is_never_run() -> None:
    turn, told = play(opened(), t.Asked(), t.OpenedCode("<execute>"), t.WroteCode("x ="), t.ModelEnded(True, None, 200))
    assert facts(told)[-1].finish is StepFinish.CUT_OFF
    assert isinstance(t.pending(turn), t.AskModel)


def test_a_long_answer_that_is_cut_can_be_continued() -> None:
    turn, _ = play(opened(), t.Asked(), t.Wrote("word " * 200), t.ModelEnded(True, None, 200))
    assert turn.phase == t.Closed(TurnOutcome.TOKEN_LIMIT)


def test_messages_that_lead_nowhere_end_the_turn() -> None:
    turn = opened()
    for _ in range(t.MAX_FRUITLESS):
        turn, told = play(turn, t.Asked(), t.Wrote("so "), t.WroteObservation(), t.ModelEnded(False, None, 5))
    assert turn.phase == t.Closed(TurnOutcome.REPEATING)
    assert told[-1].words


def test_the_same_failure_three_times_ends_the_turn() -> None:
    turn = opened(t.Limits(executions=99, seconds=60, tokens=9999, step_tokens=200, cell_seconds=10))
    for _ in range(t.MAX_FRUITLESS):
        turn, _ = play(turn, *code("1/0"), ended(wire.Outcome.ERROR, text="ZeroDivisionError"))
    assert turn.phase == t.Closed(TurnOutcome.REPEATING)


def test_a_repeated_cell_asks_the_model_with_more_variety() -> None:
    turn, _ = play(opened(), *code("1/0"), ended(wire.Outcome.ERROR))
    assert t.pending(turn) == t.AskModel(1, 200, vary=False)
    turn, _ = play(turn, *code("1/0"), ended(wire.Outcome.ERROR))
    assert t.pending(turn) == t.AskModel(2, 200, vary=True)


def test_the_execution_limit_ends_the_turn_after_the_cell() -> None:
    turn = opened()
    for number in range(3):
        turn, told = play(turn, *code(f"print({number})"), ended())
    assert turn.phase == t.Closed(TurnOutcome.EXECUTION_LIMIT)
    assert [event.type for event in told][-2:] == ["cell.closed", "turn.closed"]


def test_the_token_limit_counts_what_the_model_wrote() -> None:
    limits = t.Limits(executions=9, seconds=60, tokens=20, step_tokens=200, cell_seconds=10)
    turn, _ = play(opened(limits), *code("print(1)"))
    assert turn.tokens == 9
    turn, _ = play(turn, ended())
    assert turn.phase == t.Closed(TurnOutcome.TOKEN_LIMIT)


def test_stop_while_writing_keeps_what_was_written_and_runs_nothing() -> None:
    turn, told = play(
        opened(), t.Asked(), t.Wrote("I'll "), t.OpenedCode("```python\n"), t.WroteCode("x"), t.StopHeard("user"),
        t.ModelStopped(3),
    )  # fmt: skip
    step, closed = facts(told)
    assert (step.finish, step.prose, step.code.code) == (StepFinish.STOPPED, "I'll ", "x")
    assert closed.outcome is TurnOutcome.STOPPED
    assert "turn.stopping" in [event.type for event in told]


def test_stop_before_the_first_word_leaves_no_empty_step() -> None:
    turn, told = play(opened(), t.Asked(), t.StopHeard("user"), t.ModelStopped(0))
    assert [event.type for event in facts(told)] == ["turn.closed"]


def test_stop_while_running_waits_for_the_cell_to_say_how_it_ended() -> None:
    turn, _ = play(opened(), *code("loop()"), t.CellMoved(t.CellPhase.RUNNING), t.StopHeard("user"))
    assert isinstance(turn.phase, t.Running)
    turn, told = play(turn, ended(wire.Outcome.INTERRUPTED))
    assert [event.type for event in told] == ["cell.closed", "turn.closed"]
    assert turn.phase == t.Closed(TurnOutcome.STOPPED)


def test_a_stop_that_arrives_with_the_end_of_the_code_does_not_run_it() -> None:
    turn, told = play(
        opened(), t.Asked(), t.OpenedCode("<execute>"), t.WroteCode("x"), t.ClosedCode("</execute>"),
        t.StopHeard("user"), t.ModelEnded(False, None, 4),
    )  # fmt: skip
    assert [event.type for event in facts(told)] == ["step.closed", "turn.closed"]


def test_stopping_twice_is_told_once() -> None:
    _, told = play(opened(), t.Asked(), t.StopHeard("user"), t.StopHeard("time"), t.ModelStopped(0))
    assert [event.type for event in told].count("turn.stopping") == 1
    assert told[-1].outcome is TurnOutcome.STOPPED


def test_a_new_kernel_is_called_fresh_only_when_variables_were_lost() -> None:
    fresh = t.CellMoved(t.CellPhase.RUNNING, fresh=True)
    _, told = play(opened(variables=False), *code("x"), fresh, ended())
    assert not facts(told)[-1].fresh
    _, told = play(opened(variables=True), *code("x"), fresh, ended())
    assert facts(told)[-1].fresh


def test_why_variables_are_gone_is_kept_with_the_cell() -> None:
    why = "Variables of earlier cells are gone: the sandbox was idle for too long."
    _, told = play(opened(), *code("x"), t.CellMoved(t.CellPhase.RUNNING, fresh=True, lost=why), ended())
    assert facts(told)[-1].lost == why


def test_a_failed_model_keeps_its_words_and_ends_the_turn() -> None:
    turn, told = play(opened(), t.Asked(), t.Wrote("Well"), t.ModelFailed("The model server is down."))
    step, closed = facts(told)
    assert (step.finish, step.prose) == (StepFinish.FAILED, "Well")
    assert closed.outcome is TurnOutcome.MODEL_FAILED and "down" in closed.words


def test_no_sandbox_ends_the_turn_instead_of_asking_again_and_again() -> None:
    turn, _ = play(opened(), *code("x"), ended(wire.Outcome.UNAVAILABLE))
    assert turn.phase == t.Closed(TurnOutcome.SANDBOX_FAILED)


def test_what_does_not_fit_raises_and_changes_nothing() -> None:
    turn = opened()
    with pytest.raises(t.Illegal):
        t.advance(turn, ended(), 2.0)
    with pytest.raises(t.Illegal):
        t.evolve(turn, ev.CellOutput(turn="t1", cell="t1-0", n=0, ops=[]))
    assert turn == opened()


def test_the_fold_of_the_stored_facts_reaches_the_same_phase() -> None:
    turn, told = play(opened(), *code("print(1)"), ended(), t.Asked(), t.Wrote("1"), t.ModelEnded(False, None, 1))
    again = opened()
    for event in facts(told):
        again = t.evolve(again, event)
    assert again.phase == turn.phase and again.seq == turn.seq
