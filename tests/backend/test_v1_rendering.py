"""A turn as Markdown: the same text however it arrived, and safe whatever the outputs hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import Invalid
from orchestrator.openai_api.rendering import MAX_OUTPUT, MAX_OUTPUTS, Markdown, blocks, fenced
from orchestrator.openai_api.schemas import ChatRequest, check, question
from orchestrator.protocol.events import (
    CellClosed,
    CellOutcome,
    CodeDelta,
    StepClosed,
    StepFinish,
    TextDelta,
    TurnClosed,
    TurnOutcome,
    Usage,
    WrittenCode,
)
from orchestrator.protocol.outputs import ErrorOutput, OmittedOutput, RichOutput, TextOutput


def step(n: int, prose: str, code: str | None = None, finish: StepFinish | None = None) -> StepClosed:
    written = None if code is None else WrittenCode(cell=f"cell{n}", code=code, opening="```python\n", closing="```")
    finish = finish or (StepFinish.ANSWER if code is None else StepFinish.CODE)
    usage = Usage(prompt_tokens=10, completion_tokens=5, cached_tokens=4)
    return StepClosed(seq=1, turn="t", step=n, prose=prose, code=written, finish=finish, error="", usage=usage)


def cell(n: int, *outputs, outcome=CellOutcome.OK, words: str = "") -> CellClosed:
    return CellClosed(
        seq=1, turn="t", cell=f"cell{n}", at=1.0, outcome=outcome, outputs=list(outputs), execution_count=1,
        duration_s=0.25, variables_kept=True, files_kept=True, fresh=False, words=words, files=[],
    )  # fmt: skip


def closed(outcome=TurnOutcome.ANSWERED, words: str = "") -> TurnClosed:
    return TurnClosed(seq=9, turn="t", at=2.0, outcome=outcome, words=words)


def printed(text: str, name: str = "stdout") -> TextOutput:
    return TextOutput(name=name, text=text, late=False)


def rich(data) -> RichOutput:
    return RichOutput(data=data, metadata={}, display_id=None)


def render(*events) -> str:
    text = Markdown()
    return "".join(text.feed(event) for event in events)


def test_a_turn_reads_as_prose_code_output_and_prose():
    told = render(step(0, "Let me count.\n\n", "print(6 * 7)\n"), cell(0, printed("42\n")), step(1, "It is 42."), closed())
    assert told == "Let me count.\n\n```python\nprint(6 * 7)\n```\n\n```text\n42\n```\n\nIt is 42."


@given(
    steps=st.lists(
        st.tuples(st.text("ab \n`é😀", max_size=30), st.none() | st.text("xy\n`(", max_size=30)), min_size=1, max_size=4
    ),
    data=st.data(),
)
def test_any_split_of_the_deltas_and_any_loss_gives_the_text_of_the_facts(steps, data):
    facts, all_events = [], []
    for n, (prose, code) in enumerate(steps):
        for text, make in ((prose, TextDelta), (code, CodeDelta)):
            cuts = sorted(data.draw(st.lists(st.integers(0, len(text or "")), max_size=4)))
            for start, end in zip([0, *cuts], [*cuts, len(text or "")], strict=True):
                more = {"cell": f"cell{n}"} if make is CodeDelta else {}
                delta = make(turn="t", step=n, offset=start, text=(text or "")[start:end], **more)
                if text and end > start and (make is TextDelta or prose == "" or data.draw(st.booleans())):
                    all_events += [delta] * data.draw(st.integers(1, 2))
        after = [step(n, prose, code)] + ([cell(n, printed("out\n"))] if code is not None else [])
        facts += after
        all_events += after
    assert render(*all_events) == render(*facts)


def test_facts_told_twice_change_nothing():
    text = Markdown()
    events = [step(0, "a", "1\n"), cell(0, printed("1")), step(1, "b"), closed(TurnOutcome.STOPPED, "Stopped.")]
    for event in events:
        text.feed(event)
    assert [text.feed(event) for event in events] == [""] * 4
    assert len(text.cells) == 1


def test_cells_are_listed_with_code_outcome_outputs_and_duration():
    text = Markdown()
    for event in (
        step(0, "", "1 / 0"),
        cell(0, ErrorOutput(ename="E", evalue="v", traceback=""), outcome=CellOutcome.ERROR),
    ):
        text.feed(event)
    [listed] = text.cells
    assert (listed["code"], listed["outcome"], listed["duration_s"]) == ("1 / 0", "error", 0.25)
    assert listed["outputs"] == [{"kind": "error", "ename": "E", "evalue": "v", "traceback": ""}]


def test_usage_is_the_sum_of_all_requests():
    text = Markdown()
    for n in range(3):
        text.feed(step(n, "x"))
    assert (text.prompt_tokens, text.completion_tokens, text.cached_tokens) == (30, 15, 12)


def test_code_that_was_cut_off_says_that_it_was_not_run():
    told = render(step(0, "", "while True", StepFinish.CUT_OFF), closed(TurnOutcome.TOKEN_LIMIT, "The limit is reached."))
    assert told.startswith("```python\nwhile True\n```\n\n*This code was not run")
    assert told.endswith("*The limit is reached.*\n")


def test_an_output_cannot_break_out_of_its_fence():
    assert fenced("a\n```\n# not a title\n`````\n").startswith("``````text\n")
    assert fenced("\x1b[31mred\x1b[0m") == "```text\nred\n```\n"


def test_stdout_and_stderr_are_one_text_in_their_order():
    assert blocks([printed("a\n"), printed("b\n", "stderr"), printed("c\n")]) == ["```text\na\nb\nc\n```\n"]


def test_long_outputs_are_clipped_and_many_are_counted():
    assert len(fenced("x" * 1_000_000)) < MAX_OUTPUT + 200
    many = blocks([rich({"text/plain": "y" * 1000})] * 10_000)
    assert sum(map(len, many)) < MAX_OUTPUTS + 2_000
    assert "more outputs left out" in many[-1]


@pytest.mark.parametrize(
    ("output", "block"),
    [
        (rich({"image/png": "aGk=", "text/plain": "<Figure>"}), "*[a picture: image/png]*\n"),
        (rich({"text/html": "<b>", "text/plain": "b"}), "```text\nb\n```\n"),
        (rich({"text/markdown": "# T", "text/plain": "x"}), "# T\n"),
        (rich({"text/html": "<b>"}), "*[text/html]*\n"),
        (rich({}), "*[an empty output]*\n"),
        (OmittedOutput(size=1234), "*[1,234 bytes of output left out]*\n"),
        (ErrorOutput(ename="ValueError", evalue="no", traceback=""), "```text\nValueError: no\n```\n"),
    ],
)  # fmt: skip
def test_every_kind_of_output_has_a_block(output, block):
    assert blocks([output]) == [block]


# ---- what is asked ---------------------------------------------------------------------------------------------------


def ask(*messages, **fields) -> ChatRequest:
    listed = [{"role": role, "content": content} for role, content in messages]
    return ChatRequest.model_validate({"model": "codeact", "messages": listed, **fields})


def test_a_single_message_is_the_question():
    assert question(ask(("user", " How many? "))).text == "How many?"


def test_instructions_come_before_the_question():
    asked = question(ask(("system", "Be brief."), ("user", "How many?")))
    assert asked.text == "Be brief.\n\nHow many?"
    assert asked.said == "How many?"


def test_an_earlier_conversation_is_told_as_context():
    asked = question(ask(("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "How many?")))
    assert asked.text.endswith("Instructions: Be brief.\n\nUser: Hi\n\nAssistant: Hello\n\nThe user now says:\n\nHow many?")


def test_what_the_conversation_knows_already_is_not_told_again():
    request = ask(
        ("system", "x"), ("user", "Hi"), ("assistant", "Hello"), ("user", "And"), ("user", "now?"),
        metadata={"conversation_id": "c1"},
    )  # fmt: skip
    assert question(request).text == "And\n\nnow?"


def test_text_parts_are_read_and_others_refused_in_words():
    parts = [{"type": "text", "text": "Look"}, {"type": "text", "text": "here"}]
    assert question(ask(("user", parts))).text == "Look\nhere"
    with pytest.raises(Invalid, match="image_url"):
        question(ask(("user", [{"type": "image_url", "image_url": {"url": "x"}}])))


@pytest.mark.parametrize("messages", [[("assistant", "Hello")], [("user", "  ")], [("system", "x")], [("user", None)]])
def test_a_request_without_a_question_is_refused(messages):
    with pytest.raises(Invalid, match="last message"):
        question(ask(*messages))


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("n", 2), ("tools", [{"type": "function"}]), ("tool_choice", "required"), ("stop", ["x"]), ("logprobs", True),
        ("response_format", {"type": "json_object"}), ("logit_bias", {"1": 2}), ("modalities", ["audio"]),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused_by_name(param, value):
    with pytest.raises(Invalid) as refused:
        check(ask(("user", "x"), **{param: value}))
    assert refused.value.param == param


def test_what_makes_no_difference_is_let_through():
    check(ask(("user", "x"), n=1, tools=[], tool_choice="none", temperature=0.5, max_tokens=5, user="me", seed=1,
              response_format={"type": "text"}, store=False, metadata={"other": "x"}))  # fmt: skip
