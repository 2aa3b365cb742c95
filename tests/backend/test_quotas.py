"""Quotas at a running server: what is refused is refused before work begins, and nothing of it is stored."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from orchestrator.protocol.events import TurnOutcome
from orchestrator.usage import QuotaSet, What
from tests.backend.conftest import Puppet
from tests.support.app import App, Tab, new_id, serving, settings_for
from tests.support.scripts import Hold, Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(model: Puppet, tmp_path_factory) -> AsyncIterator[App]:
    """One person; counted, because there is a limit nobody reaches."""
    data: Path = tmp_path_factory.mktemp("data")
    async with serving(settings_for(data, model.server.base_url, quota_messages_per_day=10**6)) as running:
        yield running


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def unlimited(app: App) -> AsyncIterator[None]:
    yield
    await limit(app)


async def limit(app: App, **limits: int | None) -> None:
    """What the user may use from now on, beside what they have used today."""
    await app.app.state.quotas.set(QuotaSet("user", "local", {What(name): most for name, most in limits.items()}))


async def used(app: App) -> dict[str, Any]:
    http = await app.browser()
    async with http.get(f"{app.url}/api/quota") as answer:
        assert answer.status == 200
        return {line["what"]: line for line in (await answer.json())["limits"]}


async def left(app: App, what: str, more: int) -> dict[str, int]:
    """A limit of which `more` is left."""
    return {what: int((await used(app))[what]["used"]) + more}


async def refused(tab: Tab, turn: str) -> dict[str, Any]:
    return await tab.until_frame(lambda frame: frame["type"] == "refused" and frame["turn"] == turn)


async def test_the_last_message_is_answered_and_the_next_is_refused_in_words(app, model, tab):
    await limit(app, **await left(app, "messages", 1))
    await tab.ask("say hello")
    model.script = lambda _: pytest.fail("the model was asked")
    frame = await refused(tab, await tab.say("once more"))
    assert frame["reason"] == "quota" and "message that you may send" in frame["words"] and "midnight UTC" in frame["words"]
    page = await tab.load()
    assert [event.type for event in page.events if event.type == "turn.opened"] == ["turn.opened"]


async def test_a_refused_message_goes_through_with_the_same_id_when_there_is_more(app, tab):
    await limit(app, **await left(app, "messages", 0))
    turn = await tab.say("say hello")
    await refused(tab, turn)
    await limit(app, **await left(app, "messages", 1))
    await tab.say("say hello", turn)
    assert (await tab.closed(turn)).outcome is TurnOutcome.ANSWERED


async def test_a_message_that_is_known_is_not_refused_when_it_comes_again(app, tab):
    await limit(app, **await left(app, "messages", 1))
    turn = await tab.say("say hello")
    await tab.closed(turn)
    before = (await used(app))["messages"]["used"]
    await tab.say("say hello", turn)
    await tab.command(type="ping")
    frame = await tab.until_frame(lambda frame: frame["type"] in ("refused", "pong"))
    assert frame["type"] == "pong" and (await used(app))["messages"]["used"] == before


async def test_of_two_messages_at_once_at_the_last_unit_one_is_answered(app):
    one, other = await app.tab(), await app.tab()
    await limit(app, **await left(app, "messages", 1))
    turns = await asyncio.gather(one.say("say hello"), other.say("say hello"))

    async def end(tab: Tab, turn: str) -> str:
        frame = await tab.until_frame(
            lambda frame: (
                (frame["type"] == "refused" and frame["turn"] == turn)
                or (frame["type"] == "told" and frame["event"]["type"] == "turn.closed")
            )
        )
        return str(frame["type"])

    ends = await asyncio.gather(end(one, turns[0]), end(other, turns[1]))
    assert sorted(ends) == ["refused", "told"]
    assert (await used(app))["messages"]["remaining"] == 0
    loser = one if ends[0] == "refused" else other
    assert (await loser.load()).events == []
    for tab in (one, other):
        await tab.drop()


async def test_going_on_with_an_answer_is_a_message_too(app, model, tab):
    model.script = lambda _: Reply("…", finish="length")
    await tab.closed(await tab.say("go"))
    await limit(app, **await left(app, "messages", 0))
    turn = new_id()
    await tab.command(type="turn.continue", conversation=tab.conversation, turn=turn)
    assert (await refused(tab, turn))["reason"] == "quota"


async def test_deleting_conversations_gives_nothing_back(app, tab):
    await tab.ask("say hello")
    before = await used(app)
    async with tab.http.delete(f"{app.url}/api/conversations/{tab.conversation}") as answer:
        assert answer.status == 204
    after = await used(app)
    assert [after[what]["used"] for what in ("messages", "model_tokens", "cpu_seconds")] == [
        before[what]["used"] for what in ("messages", "model_tokens", "cpu_seconds")
    ]


# ---- tokens and CPU time ---------------------------------------------------------------------------------------------


async def test_tokens_are_what_was_written_and_read_for_the_first_time(app, tab):
    before = (await used(app))["model_tokens"]["used"]
    await tab.ask("x" * 3000)
    first = (await used(app))["model_tokens"]["used"] - before
    assert 3000 / 4 < first < 3000
    await tab.ask("say a")  # all of the message before is in the server's cache
    assert (await used(app))["model_tokens"]["used"] - before - first < 500


async def test_code_is_counted_although_the_server_never_gets_to_count_it(app, tab):
    before = (await used(app))["model_tokens"]["used"]
    view = await tab.ask("run 'y' * 4000 + " + "''" * 500)
    assert view.turns[-1].outcome is TurnOutcome.ANSWERED
    assert (await used(app))["model_tokens"]["used"] - before > 500


async def test_the_tokens_of_a_failed_answer_count_and_a_server_that_says_nothing_is_not_paid(app, model, tab):
    before = (await used(app))["model_tokens"]["used"]
    model.script = lambda _: Reply("words " * 400, done=False, finish="", cut_at=20_000)
    closed = await tab.closed(await tab.say("go"))
    failed = (await used(app))["model_tokens"]["used"] - before
    assert closed.outcome is TurnOutcome.MODEL_FAILED and failed > 100
    model.script = lambda _: Reply(status=400, body=b'{"error":{"message":"no"}}')
    await tab.closed(await tab.say("z" * 4000))
    assert (await used(app))["model_tokens"]["used"] - before == failed


async def test_a_stopped_answer_counts_what_was_written_until_then(app, model, tab):
    before = (await used(app))["model_tokens"]["used"]
    hold = asyncio.Event()
    model.script = lambda _: Reply(["words " * 200, Hold(hold)])
    turn = await tab.say("go")
    await tab.until_type("text.delta")
    await tab.stop(turn)
    await tab.closed(turn)
    hold.set()
    assert (await used(app))["model_tokens"]["used"] - before >= 200


async def test_used_up_tokens_refuse_the_next_message(app, tab):
    await tab.ask("say hello")
    await limit(app, **await left(app, "model_tokens", 0))
    frame = await refused(tab, await tab.say("once more"))
    assert frame["reason"] == "quota" and "model token" in frame["words"]


async def test_cpu_time_is_that_of_the_cell_and_refuses_when_it_is_used_up(app, tab):
    before = (await used(app))["cpu_seconds"]["used"]
    await tab.ask("run import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass")
    spent = (await used(app))["cpu_seconds"]["used"] - before
    assert 0.4 <= spent < 20
    await limit(app, cpu_seconds=int(before))
    frame = await refused(tab, await tab.say("run 1"))
    assert "CPU time" in frame["words"]


async def test_a_thread_that_goes_on_after_its_cell_is_not_free(app, tab):
    quotas = app.app.state.quotas
    await quotas.settle()
    before = (await used(app))["cpu_seconds"]["used"]
    burn = (
        "import threading, time\ndef burn():\n    end = time.thread_time() + 0.6\n    while time.thread_time() < end: pass"
    )
    await tab.ask(f"run {burn}\nthreading.Thread(target=burn).start()")
    for _ in range(120):
        await quotas.settle()
        if (await used(app))["cpu_seconds"]["used"] - before >= 0.6:
            break
        await asyncio.sleep(0.25)
    else:
        pytest.fail("its CPU time was never counted")


# ---- what is there now -----------------------------------------------------------------------------------------------


async def test_a_sandbox_too_many_takes_the_place_of_the_users_idle_one_and_keeps_its_files(app, tab):
    await tab.ask("run open('kept', 'w').write('x')")
    other = await app.tab()
    kernel = app.app.state.parts.kernel
    for line in await kernel.sandboxes():
        if line.conversation != tab.conversation:
            await kernel.end(line.conversation)
    await limit(app, sandboxes=1)
    assert (await other.ask("run print(1)")).turns[-1].outcome is TurnOutcome.ANSWERED
    assert tab.conversation not in [line.conversation for line in await kernel.sandboxes()]
    view = await tab.ask("run print(open('kept').read())")
    assert view.turns[-1].outcome is TurnOutcome.ANSWERED
    await other.drop()
    await kernel.remove(other.conversation)


async def test_a_sandbox_too_many_is_refused_while_the_others_work(app, tab):
    kernel = app.app.state.parts.kernel
    for line in await kernel.sandboxes():
        await kernel.end(line.conversation)
    turn = await tab.say("run import time; time.sleep(60)")
    await tab.until(lambda event: event.type == "cell.progress" and event.phase == "running")
    await limit(app, sandboxes=1)
    other = await app.tab()
    frame = await refused(other, await other.say("say hello"))
    assert frame["reason"] == "quota" and "1 sandbox at a time" in frame["words"]
    await other.command(type="kernel.restart", conversation=other.conversation)
    frame = await other.until_frame(lambda frame: frame["type"] == "refused")
    assert frame["reason"] == "quota"
    assert (await used(app))["sandboxes"]["used"] == 1
    await tab.stop(turn)
    await tab.closed(turn)
    await other.drop()


async def test_of_two_conversations_at_once_at_the_last_sandbox_one_is_answered(app, model):
    kernel = app.app.state.parts.kernel
    for line in await kernel.sandboxes():
        await kernel.end(line.conversation)
    await limit(app, sandboxes=1)
    hold = asyncio.Event()
    model.script = lambda _: Reply([Hold(hold), "done"])
    tabs = [await app.tab() for _ in range(2)]
    turns = [await tab.say("go") for tab in tabs]
    decided = ("refused", "turn.opened")

    async def decision(tab: Tab) -> str:
        kind = lambda frame: frame["event"]["type"] if frame["type"] == "told" else frame["type"]  # noqa: E731
        return str(kind(await tab.until_frame(lambda frame: kind(frame) in decided)))

    assert sorted(await asyncio.gather(*(decision(tab) for tab in tabs))) == ["refused", "turn.opened"]
    hold.set()
    model.reset()
    for tab, turn in zip(tabs, turns, strict=True):
        if not any(frame["type"] == "refused" for frame in tab.frames):
            await tab.closed(turn)
        await tab.drop()
        await kernel.remove(tab.conversation)


async def test_full_disk_refuses_until_a_conversation_is_deleted(app, tab):
    store = app.app.state.parts.store
    await tab.ask("run open('big', 'wb').write(b'x' * 3_000_000)")
    for _ in range(60):  # the watcher looks every two seconds
        await app.app.state.quotas.settle()
        if (await used(app))["disk"]["used"] >= 3_000_000:
            break
        await asyncio.sleep(0.5)
    else:
        pytest.fail("the disk was never told")
    await limit(app, disk=3_000_000)
    frame = await refused(tab, await tab.say("say hello"))
    assert "Delete" in frame["words"] and "2.86 MB" in frame["words"]
    assert await store.delete("local", tab.conversation)
    fresh = await app.tab()
    assert (await fresh.ask("say hello")).turns[-1].outcome is TurnOutcome.ANSWERED
    await fresh.drop()


# ---- over HTTP -------------------------------------------------------------------------------------------------------


async def test_over_http_it_is_429_with_the_time_to_wait_and_no_conversation_is_left(app):
    http = await app.browser()
    await limit(app, **await left(app, "messages", 0))
    before = await app.app.state.parts.store.conversations("local", 200, None)
    body = {"model": "codeact", "messages": [{"role": "user", "content": "hello"}]}
    for stream in (False, True):
        async with http.post(f"{app.url}/v1/chat/completions", json=body | {"stream": stream}) as answer:
            assert answer.status == 429
            error = (await answer.json())["error"]
            assert error["code"] == "insufficient_quota" and "midnight UTC" in error["message"]
            assert int(answer.headers["Retry-After"]) == int(answer.headers["RateLimit-Reset"])
            assert 0 < int(answer.headers["Retry-After"]) <= 86400
            assert answer.headers["RateLimit-Remaining"] == "0"
    assert await app.app.state.parts.store.conversations("local", 200, None) == before


async def test_what_is_used_is_told_with_what_is_left_and_when_it_resets(app):
    await limit(app, model_tokens=10**9, disk=None, messages=None)
    lines = await used(app)
    tokens = lines["model_tokens"]
    assert tokens["limit"] == 10**9 and tokens["remaining"] == 10**9 - tokens["used"] and tokens["unit"] == "tokens"
    assert tokens["resets_at"] % 86400 == 0 and 0 < tokens["resets_at"] - time.time() <= 86400
    assert lines["disk"]["limit"] is lines["disk"]["resets_at"] is lines["messages"]["remaining"] is None


# ---- where nothing is limited ----------------------------------------------------------------------------------------


async def test_without_a_limit_nothing_is_asked_and_nothing_counted(model, tmp_path):
    async with serving(settings_for(tmp_path, model.server.base_url)) as app:
        assert app.app.state.parts.turns.gate is None
        tab = await app.tab()
        await tab.ask("say hello")
        async with tab.http.get(f"{app.url}/api/quota") as answer:
            assert await answer.json() == {"limits": []}
        now = await app.app.state.parts.usage.now("local", time.time(), disk=True)
        assert (now.used.messages, now.used.model_tokens) == (0, 0)


async def test_where_others_have_limits_a_message_costs_no_question_to_the_store(app, monkeypatch):
    quotas = app.app.state.quotas
    monkeypatch.setattr(quotas, "settings", {})
    await quotas.set(QuotaSet("user", "somebody-else", {What.MESSAGES: 1}))
    asked: list[str] = []
    usage = app.app.state.parts.usage
    monkeypatch.setattr(usage, "now", lambda *args, **more: asked.append("now"))
    assert await quotas.admit("local", "c") is None
    assert asked == []
    await quotas.set(QuotaSet("user", "somebody-else", {}))
