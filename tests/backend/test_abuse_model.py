"""Every way in which a model server fails, through the whole app over a real websocket: the user reads what happened, what
was written stays, and the conversation goes on with the next message."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.protocol.events import StepFinish, TurnOutcome
from orchestrator.protocol.view import TurnState
from tests.support.app import serving, settings_for
from tests.support.model_server import ScriptedModel
from tests.support.scripts import Call, Raw, Reply, Think, Wait, failure

LIMITS = {"model_first_token_timeout_s": 1.0, "model_idle_timeout_s": 0.5, "model_max_tokens": 64}


@pytest.fixture
async def served(tmp_path):
    """An app on a model server whose next reply a test sets; everything else is answered `Fine.`"""
    replies: list[Reply] = []
    async with (
        ScriptedModel(lambda _: replies.pop(0) if replies else Reply("Fine.")) as server,
        serving(settings_for(tmp_path / "data", server.base_url, **LIMITS)) as app,
    ):
        tab = await app.tab()
        yield tab, server, replies
        await tab.drop()


async def asked(tab, text="Hello?"):
    """The turn that a message opened, closed."""
    return (await tab.ask(text)).turns[-1]


def prose(turn):
    return "".join(item.text for item in turn.items if item.kind == "prose")


async def goes_on(tab, server):
    """The next message is answered, nothing is still being generated, and a reload shows the same."""
    turn = await asked(tab, "And now?")
    assert (turn.outcome, prose(turn)) == (TurnOutcome.ANSWERED, "Fine.")
    await server.quiet(2)
    told = tab.view
    await tab.load()
    assert tab.view == told


BROKEN = {
    "500": (failure(500, "CUDA out of memory"), "", "CUDA out of memory"),
    "401": (failure(401, "bad key"), "", "CODEACT_MODEL_API_KEY"),
    "429 for a long time": (failure(429, "slow down", Retry_After="300"), "", "in 300 s"),
    "too long": (failure(400, "maximum context length is 4096 tokens"), "", "too long"),
    "hangs up at once": (Reply(refuse=True), "", ""),  # asked again, and answered
    "never answers": (Reply(hang=True), "", "has not begun to answer"),
    "falls silent": (Reply(["Half a ", Wait(60)]), "Half a ", "silent"),
    "closes mid-token": (Reply("Half a sentence that ends", cut_at=900), "Half", "kept"),
    "closes without an end": (Reply("Half", finish="", done=False, chunked=False), "Half", "kept"),
    "invalid JSON": (Reply(["Half", Wait(0.01), Raw(b'data: {"choices": [\n\n')]), "Half", "not an answer"),
    "an error in the stream": (
        Reply(["Half", Wait(0.01), Raw(b'data: {"error": {"message": "no KV left"}}\n\n')]),
        "Half",
        "no KV left",
    ),
    "a page": (Reply(body=b"<html>nginx</html>", content_type="text/html"), "", "CODEACT_MODEL_URL"),
    "an event of 5 MB": (Reply([Raw(b"data: " + b"x" * 5_000_000 + b"\n\n")]), "", "4 MB"),
}


@pytest.mark.parametrize("case", [case for case in BROKEN if BROKEN[case][2]])
async def test_a_failing_model_server_is_explained_and_the_conversation_goes_on(served, case):
    tab, server, replies = served
    reply, kept, words = BROKEN[case]
    replies.append(reply)
    turn = await asked(tab)
    assert (turn.state, turn.outcome) == (TurnState.CLOSED, TurnOutcome.MODEL_FAILED)
    assert words in turn.words
    assert turn.words == turn.error
    assert prose(turn).startswith(kept)
    if kept:
        assert turn.items[-1].finish is StepFinish.FAILED
    await goes_on(tab, server)


async def test_a_model_server_that_is_down_is_named_and_found_again(served):
    tab, server, _ = served
    await server.stop()
    turn = await asked(tab)
    assert turn.outcome is TurnOutcome.MODEL_FAILED
    assert f"127.0.0.1:{server.port} cannot be reached" in turn.words
    await server.start()
    await goes_on(tab, server)


async def test_one_broken_connection_is_not_even_noticed(served):
    tab, server, replies = served
    replies.append(Reply(refuse=True))
    turn = await asked(tab)
    assert (turn.outcome, prose(turn)) == (TurnOutcome.ANSWERED, "Fine.")
    assert len(server.exchanges) == 2


async def test_a_slow_model_is_waited_for_and_shown_as_it_writes(served):
    tab, server, replies = served
    replies.append(Reply(["slow ", "but ", "sure"], ttft_s=0.8, rate=3))
    turn = await asked(tab)
    assert (turn.outcome, prose(turn)) == (TurnOutcome.ANSWERED, "slow but sure")
    assert sum(event.type == "text.delta" for event in tab.events) == 3
    await goes_on(tab, server)


async def test_a_model_that_never_stops_is_stopped_by_us(served):
    tab, server, replies = served
    replies.append(Reply(["more "] * 200, endless=True))
    turn = await asyncio.wait_for(asked(tab), 20)
    assert turn.outcome is TurnOutcome.TOKEN_LIMIT
    assert len(prose(turn)) < 100_000
    assert server.exchanges[0].aborted
    await goes_on(tab, server)


async def test_a_model_that_never_stops_is_stopped_by_its_user(served):
    tab, server, replies = served
    replies.append(Reply(["more "] * 200, endless=True, rate=100))
    turn = await tab.say("Go")
    await tab.until_type("text.delta")
    await tab.stop(turn)
    assert (await tab.closed(turn)).outcome is TurnOutcome.STOPPED
    await server.quiet(1)
    assert server.exchanges[0].aborted
    assert prose(tab.view.turns[-1]).startswith("more ")
    await goes_on(tab, server)


@pytest.mark.parametrize("size", [70_000, 2_000_000])
async def test_a_huge_token_arrives_whole(served, size):
    tab, server, replies = served
    replies.append(Reply(["x" * size, " end"]))
    turn = await asked(tab)
    assert (turn.outcome, len(prose(turn))) == (TurnOutcome.ANSWERED, size + 4)
    await goes_on(tab, server)


@pytest.mark.parametrize(
    "items", [[], [Think("hm")], [" \n"], [Call("{}", "another_tool")]], ids=["nothing", "thoughts", "blank", "a tool"]
)
async def test_an_answer_without_words_is_not_a_reply(served, items):
    tab, server, replies = served
    replies.append(Reply(items))
    turn = await asked(tab)
    assert turn.outcome is TurnOutcome.MODEL_FAILED
    assert turn.words
    await goes_on(tab, server)


@pytest.mark.parametrize("text", ["\x00 and \ud83d", "\u202e\ufeff\x1b[31m", "<script>alert(1)</script>"])
async def test_strange_characters_come_through(served, text):
    text = text.encode("utf-8", "replace").decode()
    tab, server, replies = served
    replies.append(Reply(["a", text, "b"]))
    turn = await asked(tab)
    assert turn.outcome is TurnOutcome.ANSWERED
    assert prose(turn).startswith("a")
    await goes_on(tab, server)
