"""A turn on a terminal and in a file, from its events alone."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.printer import Printer, tame
from orchestrator.protocol.events import (
    CellClosed,
    CellOutcome,
    CellOutput,
    StepClosed,
    StepFinish,
    TextDelta,
    TurnClosed,
    TurnOutcome,
    WrittenCode,
)
from orchestrator.protocol.outputs import ErrorOutput, OmittedOutput, Put, RichOutput, TextOutput, Wipe, Write


def printed(text: str) -> TextOutput:
    return TextOutput(name="stdout", text=text, late=False)


def step(n: int, prose: str, code: str | None = None, finish: StepFinish = StepFinish.CODE) -> StepClosed:
    written = None if code is None else WrittenCode(cell=f"cell{n}", code=code, opening="", closing="")
    return StepClosed(seq=1, turn="t", step=n, prose=prose, code=written, finish=finish, error="", usage=None)


def output(n: int, *ops) -> CellOutput:
    return CellOutput(turn="t", cell="cell0", n=n, ops=list(ops))


def cell(*outputs, words: str = "", files=()) -> CellClosed:
    return CellClosed(
        seq=1, turn="t", cell="cell0", at=1.0, outcome=CellOutcome.OK, outputs=list(outputs), execution_count=1,
        duration_s=0.25, variables_kept=True, files_kept=True, fresh=False, words=words, files=list(files),
    )  # fmt: skip


def closed(outcome=TurnOutcome.ANSWERED, words: str = "") -> TurnClosed:
    return TurnClosed(seq=9, turn="t", at=2.0, outcome=outcome, words=words)


def show(*events, tty: bool = False) -> str:
    printer = Printer(tty=tty)
    return "".join(printer.feed(event) for event in events)


def screen(text: str) -> str:
    """What is on the screen after `text`: lines, with redrawn ones as they are last."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return "\n".join(line.rsplit("\r\x1b[K", 1)[-1] for line in text.split("\n"))


def test_a_turn_in_a_file_is_markdown() -> None:
    events = [step(0, "Let me see.", "print(1)"), output(0, Put(index=0, output=printed("1\n"))), cell(printed("1\n"))]
    assert show(*events, step(1, "One."), closed()) == "Let me see.\n```python\nprint(1)\n```\n1\nOne.\n"


def test_deltas_are_printed_as_they_come_and_not_again() -> None:
    printer = Printer(tty=True)
    assert printer.feed(TextDelta(turn="t", step=0, offset=0, text="He")) == "He"
    assert printer.feed(TextDelta(turn="t", step=0, offset=1, text="ello")) == "llo"
    assert printer.feed(step(0, "Hello", finish=StepFinish.ANSWER)) == ""
    assert printer.feed(TextDelta(turn="t", step=0, offset=0, text="Hello again")) == ""


def test_a_progress_bar_redraws_its_line_on_a_terminal() -> None:
    bars = [output(0, Put(index=0, output=printed("start\n10%")))]
    bars += [output(n, Write(index=0, at=6, text=f"{n}0%")) for n in range(2, 10)]
    told = show(*bars, cell(printed("start\n100%\nend\n")), tty=True)
    assert screen(told) == "start\n100%\nend\n"
    assert told.count("\r\x1b[K") == len(bars)


def test_a_progress_bar_in_a_file_is_one_line() -> None:
    bars = [output(0, Put(index=0, output=printed("10%")))]
    bars += [output(n, Write(index=0, at=0, text=f"{n}0%")) for n in range(1, 10)]
    assert show(*bars, cell(printed("100%\n"))) == "100%\n"


def test_output_is_printed_while_it_grows() -> None:
    printer = Printer(tty=False)
    assert printer.feed(output(0, Put(index=0, output=printed("one\ntw")))) == "one\n"
    assert printer.feed(output(1, Write(index=0, at=6, text="o\n"))) == "two\n"
    assert printer.feed(output(1, Write(index=0, at=6, text="o\n"))) == ""
    assert printer.feed(cell(printed("one\ntwo\n"))) == ""


def test_wiped_output_stays_on_the_screen_and_what_comes_is_printed_below() -> None:
    told = show(
        output(0, Put(index=0, output=printed("old\n"))), output(1, Wipe(), Put(index=0, output=printed("new\n"))),
        cell(printed("new\n")), tty=True,
    )  # fmt: skip
    assert [line for line in screen(told).split("\n") if line] == ["old", "new"]


@given(
    texts=st.lists(st.text("ab\n", min_size=1, max_size=8), min_size=1, max_size=6),
    chunks=st.integers(1, 5),
    tty=st.booleans(),
)
def test_growing_output_is_printed_whole_however_it_is_cut(texts, chunks, tty) -> None:
    whole = "".join(texts)
    events = [output(0, Put(index=0, output=printed("")))]
    for n, at in enumerate(range(0, len(whole), chunks), 1):
        events.append(output(n, Write(index=0, at=at, text=whole[at : at + chunks])))
    shown = show(*events, cell(printed(whole)), tty=tty)
    assert shown == whole + ("" if whole.endswith("\n") else "\n")


def test_every_kind_of_output_is_shown() -> None:
    outputs = [
        RichOutput(data={"image/png": "x", "text/plain": "<Figure>"}, metadata={}, display_id=None),
        RichOutput(data={"text/html": "<b>", "text/plain": "bold"}, metadata={}, display_id=None),
        ErrorOutput(ename="E", evalue="v", traceback="\x1b[31mE\x1b[0m: v"),
        OmittedOutput(size=12345),
    ]
    assert show(cell(*outputs)) == "[image/png]\nbold\nE: v\n[12,345 bytes of output left out]\n"


def test_code_that_was_not_run_says_so() -> None:
    assert "[This code was not run: the turn was stopped.]" in show(step(0, "", "x", StepFinish.STOPPED))


def test_what_went_wrong_is_said() -> None:
    told = show(cell(words="The sandbox ran out of memory."), closed(TurnOutcome.MODEL_FAILED, "The model is away."))
    assert told == "[The sandbox ran out of memory.]\n[The model is away.]\n"


@given(text=st.text())
def test_nothing_of_the_model_or_the_sandbox_can_steer_the_terminal(text) -> None:
    for tty in (True, False):
        told = show(TextDelta(turn="t", step=0, offset=0, text=text or "x"), cell(printed(text)), tty=tty)
        rest = re.sub(r"\x1b\[[0-9;:]{0,64}m", "", told) if tty else told
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", rest.replace("\r\x1b[K", ""))


@pytest.mark.parametrize("bad", ["\x1b]0;title\x07", "\x1b[2J", "\x1b[6n", "\x9b31m", "\x1bc", "a\rb", "\x1b[31"])
def test_control_sequences_lose_their_power(bad) -> None:
    assert not re.search(r"[\x1b\x9b\r\x07]", tame(bad, colours=True))
