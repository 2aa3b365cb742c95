"""What each dialect says to the model, and how it sends back what the model wrote."""

from __future__ import annotations

import json

import pytest

from orchestrator.agent.actions import CodeClosed, CodeOpened, CodeText, Prose
from orchestrator.agent.profiles import profile_for
from orchestrator.agent.signals import Text, ToolCall
from orchestrator.protocol.events import StepClosed, StepFinish, WrittenCode

PREFIX = "Execution Output:"
NAMES = ["codeact", "fenced", "tools"]


def step(prose: str, code: WrittenCode | None, finish=StepFinish.CODE) -> StepClosed:
    return StepClosed(seq=2, turn="t", step=0, prose=prose, code=code, finish=finish, error="", usage=None)


@pytest.mark.parametrize(
    ("model", "setting", "name"),
    [
        ("xingyaoww/CodeActAgent-Mistral-7b-v0.1", "", "codeact"),
        ("codeact-agent-mistral:latest", "", "codeact"),
        ("qwen2.5-coder-1.5b-instruct", "", "fenced"),
        ("", "", "fenced"),
        ("CodeActAgent", "tools", "tools"),
        ("gpt", "codeact", "codeact"),
    ],
)
def test_a_profile_is_chosen_by_setting_or_by_the_models_name(model, setting, name):
    assert profile_for(model, setting, PREFIX).name == name


@pytest.mark.parametrize("name", NAMES)
def test_a_system_prompt_is_the_same_every_time_and_says_what_the_model_must_know(name):
    system = profile_for("", name, PREFIX).system
    assert system == profile_for("", name, PREFIX).system
    for word in ("variables", "print(", "plt.show()", "no network", "numpy", "prose", "never"):
        assert word in system.lower()
    assert len(system) / 4 < 330


def test_the_fenced_prompt_shows_the_observation_prefix_that_is_set():
    assert "Observation:" in profile_for("", "fenced", "Observation:").system
    assert "{prefix}" not in profile_for("", "fenced", "Observation:").system


@pytest.mark.parametrize("name", ["codeact", "fenced"])
@pytest.mark.parametrize(
    "message",
    ["Just prose.", "Look:\n<execute>\nprint(1)\n</execute>", "Look:\n```python\nprint(1)\n```", "<execute> 1 </execute>"],
)
def test_what_the_model_wrote_is_sent_back_byte_for_byte(name, message):
    profile = profile_for("", name, PREFIX)
    decoder = profile.decoder()
    pieces = [*decoder.feed(Text(message)), *([] if decoder.done else decoder.flush("stop"))]
    prose = "".join(piece.text for piece in pieces if isinstance(piece, Prose))
    opened = [piece for piece in pieces if isinstance(piece, CodeOpened)]
    written = WrittenCode(
        cell="c",
        code="".join(piece.text for piece in pieces if isinstance(piece, CodeText)),
        opening="".join(piece.opening for piece in opened),
        closing="".join(piece.closing for piece in pieces if isinstance(piece, CodeClosed)),
    )
    sent = profile.assistant(step(prose, written if opened else None))
    assert sent == [{"role": "assistant", "content": message}]


def test_an_observation_begins_with_the_prefix():
    written = WrittenCode(cell="c", code="1", opening="<execute>", closing="</execute>")
    for name in ("codeact", "fenced"):
        message = profile_for("", name, "Observation:").observation("42", step("", written))
        assert message == {"role": "user", "content": "Observation:\n42"}


def test_a_tool_call_and_its_answer_belong_together():
    profile = profile_for("", "tools", PREFIX)
    decoder = profile.decoder()
    decoder.feed(ToolCall(0, "execute_python", json.dumps({"code": "print('é')\n"})))
    written = WrittenCode(cell="t-0", code="print('é')\n", opening="", closing="")
    (assistant,) = profile.assistant(step("", written))
    (call,) = assistant["tool_calls"]
    assert assistant["content"] is None
    assert json.loads(call["function"]["arguments"]) == {"code": "print('é')\n"}
    answer = profile.observation("é", step("", written))
    assert answer == {"role": "tool", "tool_call_id": call["id"], "content": "é"}
    assert profile.tools[0]["function"]["name"] == call["function"]["name"]


def test_a_message_without_a_word_is_not_sent_back():
    for name in NAMES:
        assert profile_for("", name, PREFIX).assistant(step("", None)) == []


@pytest.mark.parametrize("name", ["codeact", "fenced", "tools"])
def test_the_model_is_told_what_its_code_can_reach(name):
    alone, reaching = (profile_for("", name, PREFIX, network=network).system for network in (False, True))
    assert "no network" in alone.lower() and "pip" not in alone
    assert "no network" not in reaching.lower() and "%pip install works" in reaching
    assert "{" not in alone and "{" not in reaching
