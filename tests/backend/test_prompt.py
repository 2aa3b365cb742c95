"""The transcript: what the model reads, that its bytes hold still, and that it always fits."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.wire import FileChange
from orchestrator.agent.observations import for_model
from orchestrator.agent.profiles import profile_for
from orchestrator.agent.prompt import AGAIN, LEFT_OUT, Transcript
from orchestrator.protocol import events as ev
from orchestrator.protocol.events import CellOutcome, StepFinish, TurnOutcome, Via
from orchestrator.protocol.outputs import ErrorOutput, OmittedOutput, RichOutput, TextOutput

PREFIX = "Execution Output:"


class Chat:
    """Writes events, and a transcript beside them."""

    def __init__(self, profile="fenced", context=16_384, reply=1_024) -> None:
        self.new = lambda: Transcript(profile_for("", profile, PREFIX), context, reply)
        self.transcript = self.new()
        self.events: list = []
        self.turn = ""
        self.step = 0

    def add(self, make, **fields) -> None:
        event = make(seq=len(self.events) + 1, turn=self.turn, **fields)
        self.events.append(event)
        self.transcript.add(event)

    def ask(self, text: str) -> Chat:
        self.turn, self.step = f"t{len(self.events)}", 0
        self.add(ev.TurnOpened, at=1.0, text=text, via=Via.BROWSER)
        return self

    def say(self, prose: str, finish=StepFinish.ANSWER, code: str | None = None, error="", tokens=None) -> Chat:
        written = None
        if code is not None:
            closing = "\n```" if finish is StepFinish.CODE else ""
            written = ev.WrittenCode(cell=self.cell, code=code, opening="```python\n", closing=closing)
        usage = ev.Usage(prompt_tokens=tokens, completion_tokens=None, cached_tokens=None) if tokens else None
        self.add(ev.StepClosed, step=self.step, prose=prose, code=written, finish=finish, error=error, usage=usage)
        return self

    @property
    def cell(self) -> str:
        return f"{self.turn}-{self.step}"

    def code(self, code: str, prose="") -> Chat:
        self.say(prose, StepFinish.CODE, code)
        self.add(ev.CellOpened, cell=self.cell, step=self.step, at=1.0)
        return self

    def ran(self, *outputs, outcome=CellOutcome.OK, words="", fresh=False, lost="", files=()) -> Chat:
        self.add(
            ev.CellClosed, cell=self.cell, at=1.0, outcome=outcome, outputs=list(outputs), execution_count=1,
            duration_s=0.1, variables_kept=True, files_kept=True, fresh=fresh, lost=lost, words=words,
            files=list(files),
        )  # fmt: skip
        self.step += 1
        return self

    def end(self, outcome=TurnOutcome.ANSWERED) -> Chat:
        self.add(ev.TurnClosed, at=1.0, outcome=outcome, words="")
        return self

    @property
    def messages(self) -> list:
        return self.transcript.messages()

    @property
    def contents(self) -> list:
        return [message["content"] for message in self.messages[1:]]


def text(text: str) -> TextOutput:
    return TextOutput(name="stdout", text=text, late=False)


def well_formed(messages: list) -> None:
    """What every model server accepts: system, then user and assistant in turns, tool answers after their calls."""
    roles = [message["role"] for message in messages]
    assert roles[0] == "system" and roles[1:2] in ([], ["user"])
    for before, message in pairwise(messages):
        role = message["role"]
        if role == "assistant":
            assert before["role"] in ("user", "tool")
            assert message["content"] or message["tool_calls"]
        elif role == "user":
            assert before["role"] in ("system", "assistant", "tool") and not before.get("tool_calls")
            assert message["content"]
        else:
            assert role == "tool" and before["tool_calls"][0]["id"] == message["tool_call_id"]


# ---- what is said ----------------------------------------------------------------------------------------------------


def test_a_turn_reads_as_question_code_observation_answer():
    chat = Chat().ask("How much is 6*7?").code("print(6*7)", "Let me see.\n").ran(text("42\n")).say("42.").end()
    assert chat.contents == [
        "How much is 6*7?", "Let me see.\n```python\nprint(6*7)\n```", "Execution Output:\n42", "42.",
    ]  # fmt: skip
    assert chat.messages[0] == {"role": "system", "content": profile_for("", "fenced", PREFIX).system}


def test_a_tool_profile_answers_its_calls():
    chat = Chat("tools").ask("?").code("1").ran(text("1")).say("One.").end().ask("!")
    assert [m["role"] for m in chat.messages] == ["system", "user", "assistant", "tool", "assistant", "user"]
    well_formed(chat.messages)


@pytest.mark.parametrize(
    ("outputs", "shown"),
    [
        ([], "[The code ran without output.]"),
        ([text("\x1b[31mred\x1b[0m\n")], "red"),
        ([text("a\n"), RichOutput(data={"text/plain": "3", "text/html": "<b>3</b>"}, metadata={}, display_id=None)],
         "a\n3"),
        ([RichOutput(data={"image/png": "AAAA", "text/plain": "<Figure>"}, metadata={}, display_id=None)],
         "[An image is shown to the user.]"),
        ([RichOutput(data={"application/x": {}}, metadata={}, display_id=None)],
         "[An output of type application/x is shown to the user.]"),
        ([ErrorOutput(ename="ValueError", evalue="no", traceback="\x1b[31mline 1\x1b[0m\nValueError: no")],
         "line 1\nValueError: no"),
        ([ErrorOutput(ename="ValueError", evalue="no", traceback="")], "ValueError: no"),
        ([text("a"), OmittedOutput(size=123), text("b")], "a\n[… 123 bytes left out …]\nb"),
    ],
)  # fmt: skip
def test_outputs_become_text(outputs, shown):
    assert Chat().ask("?").code("x").ran(*outputs).contents[-1] == f"Execution Output:\n{shown}"


def test_long_outputs_keep_head_and_tail_and_say_how_much_is_missing():
    shown = for_model([text("a" * 10_000 + "z" * 10_000)])
    assert shown == "a" * 3_000 + "\n[… 14000 characters left out …]\n" + "z" * 3_000


def test_a_long_traceback_keeps_the_error():
    shown = for_model([ErrorOutput(ename="E", evalue="v", traceback="head\n" + "frame\n" * 5_000 + "E: v")])
    assert shown.startswith("head") and shown.endswith("frame\nE: v") and len(shown) < 2_500


def test_the_model_reads_the_same_words_as_the_user():
    files = [FileChange(path=f"f{n}.csv", change="new", size=n) for n in range(12)]
    words = "The sandbox ran out of memory."
    chat = (
        Chat().ask("?").code("x").ran(text("part"), outcome=CellOutcome.OUT_OF_MEMORY, words=words, files=files, fresh=True)
    )
    lines = chat.contents[-1].split("\n")
    assert lines[1] == "[The sandbox was started anew: variables of earlier cells are gone; files are kept.]"
    assert lines[2:4] == ["part", f"[{words}]"]
    assert lines[4].startswith("[Files: f0.csv (new), ") and lines[4].endswith(" and 2 more]")


def test_why_variables_are_gone_takes_the_place_of_the_bare_fact():
    chat = Chat().ask("?").code("x").ran(text("part"), fresh=True, lost="Variables are gone: you restarted Python.")
    assert chat.contents[-1].split("\n")[1:3] == ["[Variables are gone: you restarted Python.]", "part"]


def test_code_that_was_cut_off_is_said_not_to_have_run():
    chat = Chat().ask("?").say("Here:\n", StepFinish.CUT_OFF, "x = [1,")
    assert chat.contents[1] == "Here:\n```python\nx = [1,"
    assert "NOT run" in chat.contents[2] and "shorter" in chat.contents[2]
    well_formed(chat.messages)


def test_a_tool_call_that_could_not_be_read_is_answered_with_the_reason():
    chat = Chat("tools").ask("?").say("", StepFinish.CUT_OFF, "", error="The arguments were not complete.")
    assert chat.messages[-1]["role"] == "tool" and "arguments were not complete" in chat.contents[-1]
    well_formed(chat.messages)


def test_an_invented_output_is_answered_by_asking_for_code():
    chat = Chat().ask("?").say("It prints:", StepFinish.FABRICATED)
    assert "Nothing has run" in chat.contents[-1]
    chat = Chat().ask("?").say("", StepFinish.FABRICATED)
    well_formed(chat.messages)
    assert chat.contents[0].startswith("?\n\n") and "Nothing has run" in chat.contents[0]


@pytest.mark.parametrize("profile", ["codeact", "fenced", "tools"])
@pytest.mark.parametrize(
    ("finish", "outcome", "note"),
    [
        (StepFinish.STOPPED, TurnOutcome.STOPPED, "The user stopped this before the code ran."),
        (StepFinish.CODE, TurnOutcome.STOPPED, "The user stopped this before the code ran."),
        (StepFinish.FAILED, TurnOutcome.MODEL_FAILED, "The model server failed before the code ran."),
        (StepFinish.LOST, TurnOutcome.LOST, "The server was restarted before the code ran."),
        (StepFinish.STOPPED, TurnOutcome.TIME_LIMIT, "The turn ended before the code ran."),
    ],
)
def test_code_that_never_ran_is_said_not_to_have_run(profile, finish, outcome, note):
    chat = Chat(profile).ask("?").say("So:", finish, "x").end(outcome).ask("And?")
    well_formed(chat.messages)
    joined = "\n".join(str(content) for content in chat.contents)
    assert f"[{note}]" in joined and chat.contents[-1].endswith("And?")


def test_a_turn_stopped_before_a_word_was_written_is_noted():
    chat = Chat().ask("One?").end(TurnOutcome.STOPPED).ask("Two?")
    assert chat.contents == ["One?\n\n[The user stopped this before you answered.]\n\nTwo?"]


def test_continue_after_a_limit_goes_on_from_the_observation():
    chat = Chat().ask("?").code("1").ran(text("1")).end(TurnOutcome.EXECUTION_LIMIT)
    before = chat.messages
    assert chat.ask("").messages == before


def test_continue_after_a_failure_sends_the_same_bytes_again():
    chat = Chat().ask("?")
    before = chat.messages
    assert chat.say("", StepFinish.FAILED, error="down").end(TurnOutcome.MODEL_FAILED).ask("").messages == before


def test_continue_after_an_answer_or_a_stop_asks_to_continue():
    assert (
        Chat().ask("?").say("Half an", StepFinish.CUT_OFF).end(TurnOutcome.TOKEN_LIMIT).ask("").contents[-1] == "Continue."
    )
    chat = Chat().ask("?").say("Half", StepFinish.STOPPED).end(TurnOutcome.STOPPED).ask("")
    assert chat.contents[-1] == "[The user stopped this here.]\n\nContinue."


# ---- bytes hold still ------------------------------------------------------------------------------------------------

WORDS = st.text(st.sampled_from("ab \né😀`"), min_size=1, max_size=30)


@st.composite
def chats(draw, profile=None, context=16_384, size=1) -> Chat:
    chat = Chat(profile or draw(st.sampled_from(["codeact", "fenced", "tools"])), context, min(256, context // 4))
    long = st.sampled_from([1, 1, 1, size])
    for _ in range(draw(st.integers(0, 5))):
        chat.ask(draw(st.just("") | WORDS) * draw(long))
        for _ in range(draw(st.integers(0, 4))):
            finish = draw(st.sampled_from(StepFinish))
            if finish is StepFinish.CODE:
                chat.code(draw(WORDS), draw(st.just("") | WORDS))
                chat.ran(*[text(each * draw(long)) for each in draw(st.lists(WORDS, max_size=2))])
            else:
                code = draw(st.none() | WORDS) if finish is not StepFinish.ANSWER else None
                tokens = draw(st.none() | st.integers(10, 400))
                chat.say(draw(st.just("") | WORDS), finish, code, tokens=tokens)
                if finish not in (StepFinish.CUT_OFF, StepFinish.FABRICATED):
                    break
        chat.end(draw(st.sampled_from(TurnOutcome)))
    return chat


@settings(max_examples=400, deadline=None)
@given(chats())
def test_what_was_sent_stays_as_it_is(chat):
    transcript = chat.new()
    sent = transcript.messages()
    for event in chat.events:
        transcript.add(event)
        well_formed(messages := transcript.messages())
        # all but the last message stay; the last, if the user's, may grow
        assert messages[: len(sent) - 1] == sent[:-1]
        last = messages[len(sent) - 1]
        if sent[-1]["role"] == "user":
            assert last["role"] == "user" and last["content"].startswith(sent[-1]["content"])
        else:
            assert last == sent[-1]
        sent = messages


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([2_048, 4_096]).flatmap(lambda n: chats(context=n, size=400)))
def test_the_same_events_give_the_same_bytes_and_always_fit(chat):
    again = chat.new()
    for event in chat.events:
        again.add(event)
        messages = again.messages()
        well_formed(messages)
        if isinstance(event, ev.TurnOpened | ev.CellClosed):
            assert again._tokens() <= again._budget
    assert again.messages() == chat.messages


# ---- fitting in ------------------------------------------------------------------------------------------------------


def test_old_turns_are_left_out_in_big_steps():
    chat = Chat(context=4_096, reply=512)
    drops, before = 0, chat.messages
    for n in range(100):
        messages = chat.ask(f"Question {n}: " + "x" * 300).messages
        if messages[: len(before) - 1] != before[:-1]:
            drops += 1
            assert messages[1]["content"].startswith(LEFT_OUT)
            assert len(messages) < len(before) * 0.7
        before = messages
        chat.say(f"Answer {n}: " + "y" * 300).end()
    assert messages[-1]["content"].startswith("Question 99") and messages[0] == chat.transcript.messages()[0]
    assert 3 < drops < 20


def test_one_long_turn_keeps_its_question_and_its_newest_steps():
    chat = Chat(context=4_096, reply=512).ask("The question")
    for n in range(50):
        chat.code(f"print({n})").ran(text("z" * 500))
    assert chat.contents[0] == f"{LEFT_OUT}\n\nThe question"
    assert chat.contents[-2].startswith("```python\nprint(49)")
    well_formed(chat.messages)


def test_a_text_whose_ends_weigh_more_than_its_middle_is_clipped_enough():
    chat = Chat("codeact", 2_048, 256)
    for text in ("é😀" * 500, "a" * 400, "a" * 400, "é😀" * 500):  # without an answer between them, one message
        chat.ask(text)
        assert chat.transcript._tokens() <= chat.transcript._budget
        chat.end(TurnOutcome.STOPPED)


def test_a_question_that_cannot_fit_is_clipped():
    chat = Chat(context=4_096, reply=512).ask("begin" + "x" * 100_000 + "end")
    assert len(chat.contents[0]) < 6_000 and "characters left out" in chat.contents[0]
    assert chat.contents[0].startswith("begin") and chat.contents[0].endswith("end")


def test_what_the_server_counted_corrects_the_estimate():
    generous, tight = Chat(context=4_096, reply=512), Chat(context=4_096, reply=512)
    for chat, tokens in ((generous, 500), (tight, 3_300)):
        chat.ask("a" * 4_000).say("b", tokens=tokens).end().ask("c" * 1_000)
    assert len(generous.messages) == 4
    assert tight.contents == [f"{LEFT_OUT}\n\n" + "c" * 1_000]


def test_a_long_history_costs_only_what_is_new():
    chat = Chat(context=1_000_000)
    started = time.process_time()
    for n in range(3_000):
        chat.ask("q").code(f"print({n})").ran(text("1")).say("a").end()
    assert time.process_time() - started < 5
    assert len(chat.messages) == 12_001


def test_of_a_traceback_the_model_reads_its_own_frames_and_the_error():
    traceback = (
        "-----\nKeyError    Traceback (most recent call last)\nFile /lib/pandas/base.py:3805, in get_loc(key)\n   1 try:\n"
        "----> 2     return key\n\nThe above exception was the direct cause of the following exception:\n\n"
        "KeyError    Traceback (most recent call last)\nCell In[3], line 2\n      1 a\n----> 2 df['b']\n\n"
        "File /lib/pandas/frame.py:4102, in __getitem__(self)\n   9 x\n\nKeyError: 'b'"
    )
    told = for_model([ErrorOutput(ename="KeyError", evalue="'b'", traceback=traceback)])
    assert told == "Cell In[3], line 2\n      1 a\n----> 2 df['b']\nKeyError: 'b'"


def test_an_error_without_a_frame_of_its_own_is_told_whole():
    traceback = "  Cell In[3], line 1\n    x = = 2\n        ^\nSyntaxError: invalid syntax"
    assert for_model([ErrorOutput(ename="SyntaxError", evalue="", traceback=traceback)]) == traceback.strip("\n")


def test_the_same_code_with_the_same_result_gets_a_hint():
    chat = Chat().ask("?")
    for n in range(2):
        error = ErrorOutput(ename="E", evalue="v", traceback=f"Cell In[{n}], line 1\nE: v")
        chat.code("b").ran(error, outcome=CellOutcome.ERROR)
    told = [content for content in chat.contents if "E: v" in content]
    assert [AGAIN in text for text in told] == [False, True]
