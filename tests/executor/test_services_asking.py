"""Asking a kernel, without one: deadlines, one request of a kind at a time, and answers that may hold anything."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor import answers, asking
from executor.asking import Asking
from executor.jupyter import Message
from executor.wire_services import Answer


class Kernel:
    """Takes requests and answers when told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.asking = Asking(self._take)

    def _take(self, kind: str, content: dict[str, Any]) -> str:
        self.asked.append((f"id-{len(self.asked)}", kind, content))
        return self.asked[-1][0]

    def answer(self, number: int = -1, **content: Any) -> None:
        self.asking.heard(Message("control", "reply", self.asked[number][0], content, 10))


@pytest.fixture
async def kernel():
    return Kernel()


async def test_an_answer_in_time_is_handed_over_once(kernel):
    waiting = asyncio.create_task(kernel.asking.alone("k", {"a": 1}, 5))
    await asyncio.sleep(0)
    kernel.answer(value=1)
    kernel.answer(value=2)
    answer = await waiting
    assert isinstance(answer, Message) and answer.content == {"value": 1}
    assert await kernel.asking.alone("k", {}, 0.05) is Answer.BUSY and len(kernel.asked) == 2


async def test_all_who_ask_together_share_one_request(kernel):
    waiting = [asyncio.create_task(kernel.asking.together("k", {}, 5)) for _ in range(20)]
    await asyncio.sleep(0)
    kernel.answer(value=1)
    assert {id(answer) for answer in await asyncio.gather(*waiting)} == {id(await waiting[0])} and len(kernel.asked) == 1


async def test_a_kernel_that_does_not_answer_is_not_asked_again_until_the_request_is_stale(kernel, monkeypatch):
    for _ in range(5):
        assert await kernel.asking.together("k", {}, 0.02) is Answer.BUSY
        assert await kernel.asking.alone("other", {}, 0.02) is Answer.BUSY
    assert [kind for _, kind, _ in kernel.asked] == ["k", "other"]
    monkeypatch.setattr(asking, "STALE_S", 0.0)
    await asyncio.sleep(0.01)
    assert await kernel.asking.together("k", {}, 0.02) is Answer.BUSY
    kernel.answer(0, late=True)  # to the request that was given up: it belongs to nobody
    assert len(kernel.asked) == 3


async def test_a_newer_request_ends_the_older_at_once(kernel):
    first = asyncio.create_task(kernel.asking.alone("k", {"n": 1}, 5))
    await asyncio.sleep(0)
    second = asyncio.create_task(kernel.asking.alone("k", {"n": 2}, 5))
    third = asyncio.create_task(kernel.asking.alone("k", {"n": 3}, 5))
    assert await asyncio.wait_for(first, 1) is Answer.REPLACED
    assert await asyncio.wait_for(second, 1) is Answer.REPLACED
    assert [content for _, _, content in kernel.asked] == [{"n": 1}]  # one at a time
    kernel.answer()
    await asyncio.sleep(0.01)
    assert [content for _, _, content in kernel.asked] == [{"n": 1}, {"n": 3}]
    kernel.answer(value=3)
    answer = await third
    assert isinstance(answer, Message) and answer.content == {"value": 3}


async def test_a_kernel_that_goes_away_ends_whoever_waits(kernel):
    waiting = [asyncio.create_task(ask("k", {}, 5)) for ask in (kernel.asking.together, kernel.asking.alone)]
    await asyncio.sleep(0)
    kernel.asking.forget()
    answers = await asyncio.wait_for(asyncio.gather(*waiting), 1)
    assert set(answers) <= {Answer.STARTING, Answer.REPLACED} and Answer.STARTING in answers


async def test_whoever_stops_waiting_takes_nothing_from_the_others(kernel):
    waiting = [asyncio.create_task(kernel.asking.together("k", {}, 5)) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    kernel.answer(value=1)
    assert isinstance(await waiting[1], Message)


# ---- answers that may hold anything ----------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=20,
)
NAMES = ("variables", "left_out", "matches", "cursor_start", "cursor_end", "found", "parts")
FIELDS = ("name", "type", "shape", "size", "preview", "signature", "value", "doc", "source")
ENTRY = st.fixed_dictionaries({}, optional={name: JSON for name in FIELDS})
LIKELY = JSON | st.lists(ENTRY, max_size=3) | ENTRY | st.lists(st.text(), max_size=3) | st.integers(0, 9)
CONTENT = st.fixed_dictionaries({}, optional={name: LIKELY for name in NAMES} | {"found": st.just(True) | JSON})


@given(kind=st.sampled_from(["variables_reply", "complete_reply", "inspect_reply", "x"]), content=CONTENT)
def test_whatever_a_kernel_says_becomes_an_answer_without_anything_invisible(kind, content):
    message = Message("control", kind, "id", content, 100)
    told = [answers.variables(message), answers.completions(message, 9, 5), answers.inspection(message)]
    for answer in told:
        assert answer.state in (Answer.OK, Answer.GARBLED)
        answer.model_dump_json()
    texts = [text for one in told[0].variables for text in (one.name, one.type, one.preview)] + [*told[1].matches]
    texts += [told[2].type, told[2].signature, told[2].value]
    assert all(text.isprintable() for text in texts)
    assert told[1].state is Answer.GARBLED or 5 <= told[1].start <= told[1].end <= 14


def test_an_answer_that_is_too_large_or_was_cut_is_none():
    content = {"variables": [], "left_out": 0}
    good = Message("control", "variables_reply", "id", content, 100)
    assert answers.variables(good).state is Answer.OK
    for wrong in (
        Message("control", "variables_reply", "id", content, answers.MAX_BYTES + 1),
        Message("control", "variables_reply", "id", content, 100, left_out=1),
        Message("control", "inspect_reply", "id", content, 100),
    ):
        assert answers.variables(wrong).state is Answer.GARBLED
