"""The OpenAI-compatible door, used by the official client."""

from __future__ import annotations

import asyncio

import aiohttp
import openai
import pytest
import pytest_asyncio
from openai import AsyncOpenAI

from tests.support.app import App, serving, settings_for
from tests.support.model_server import ScriptedModel
from tests.support.scripts import Hold, Reply, action, failure

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.sandbox]


@pytest_asyncio.fixture(loop_scope="module")
async def client(app: App, model):
    async with AsyncOpenAI(base_url=f"{app.url}/v1", api_key="none", max_retries=0, timeout=60) as one:
        yield one
    model.reset()
    parts = app.app.state.parts
    for summary in await parts.store.conversations("local", 100, None):  # each has a sandbox, and there are only so many
        await parts.kernel.remove(summary.id)


async def ask(client: AsyncOpenAI, text: str, conversation: str | None = None, **more):
    metadata = {"metadata": {"conversation_id": conversation}} if conversation else {}
    messages = [{"role": "user", "content": text}]
    return await client.chat.completions.create(model="codeact", messages=messages, **metadata, **more)


async def until(happened) -> None:
    async with asyncio.timeout(15):
        while not happened():
            await asyncio.sleep(0.02)


async def outcome(app: App, conversation: str) -> str:
    """How the conversation's last turn ended, once it has."""
    store = app.app.state.parts.store
    async with asyncio.timeout(15):
        while True:
            events = await store.events(conversation)
            if events and events[-1].type == "turn.closed":
                return events[-1].outcome
            await asyncio.sleep(0.02)


async def test_the_served_model_is_listed(client) -> None:
    [listed] = [model async for model in client.models.list()]
    assert listed.id == "scripted"
    assert (await client.models.retrieve("scripted")).id == "scripted"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("other")


async def test_an_answer_without_code(client) -> None:
    answer = await ask(client, "Good morning")
    [choice] = answer.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", "Good morning", "stop")
    assert answer.object == "chat.completion" and answer.model == "scripted" and answer.id
    assert answer.codeact["cells"] == [] and answer.codeact["conversation_id"]


async def test_a_whole_turn_runs_and_is_told_as_markdown(client) -> None:
    answer = await ask(client, "run print(6 * 7)")
    assert answer.choices[0].message.content == "```python\nprint(6 * 7)\n```\n\n```text\n42\n```\n\nDone."
    [cell] = answer.codeact["cells"]
    assert (cell["code"].strip(), cell["outcome"]) == ("print(6 * 7)", "ok")
    assert cell["outputs"] == [{"kind": "text", "name": "stdout", "text": "42\n", "late": False}]
    assert 0 <= cell["duration_s"] < 60


async def test_usage_is_the_sum_over_the_turn(client, model) -> None:
    answer = await ask(client, "run print(1)")
    assert answer.usage.prompt_tokens > 0 and answer.usage.completion_tokens > 0
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


async def test_a_conversation_goes_on_with_its_kernel(client) -> None:
    first = await ask(client, "run x = 41")
    id = first.codeact["conversation_id"]
    second = await ask(client, "run print(x + 1)", conversation=id)
    assert second.codeact["conversation_id"] == id
    assert second.codeact["cells"][0]["outputs"][0]["text"] == "42\n"


async def test_without_a_conversation_every_request_begins_anew(client) -> None:
    await ask(client, "run y = 1")
    answer = await ask(client, "run print(y)")
    assert answer.codeact["cells"][0]["outcome"] == "error"
    assert "NameError" in answer.choices[0].message.content


async def test_a_stream_says_the_same_as_the_whole_answer(client) -> None:
    content, finish, codeact, usage = "", None, None, None
    async for chunk in await ask(client, "run print('a')", stream=True, stream_options={"include_usage": True}):
        if chunk.usage:
            usage = chunk.usage
        for choice in chunk.choices:
            content += choice.delta.content or ""
            finish = choice.finish_reason or finish
        codeact = getattr(chunk, "codeact", None) or codeact
    assert content == "```python\nprint('a')\n```\n\n```text\na\n```\n\nDone."
    assert finish == "stop" and usage.completion_tokens > 0
    assert codeact["cells"][0]["outcome"] == "ok" and codeact["conversation_id"]


async def test_a_stream_begins_with_the_conversations_id_and_comes_while_it_is_written(client, model) -> None:
    hold = asyncio.Event()
    model.script = lambda _: Reply(["One ", Hold(hold), "two."])
    stream = aiter(await ask(client, "count", stream=True))
    first = await anext(stream)
    assert first.codeact["conversation_id"]
    begun = (await anext(stream)).choices[0].delta.content
    hold.set()
    rest = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert begun.strip() == "One" and begun + "".join(rest) == "One two."


async def test_earlier_messages_of_a_new_conversation_are_read(client, model) -> None:
    messages = [
        {"role": "system", "content": "Answer in French."},
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": "Bonjour."},
        {"role": "user", "content": "What is my name?"},
    ]
    await client.chat.completions.create(model="scripted", messages=messages)
    said = model.server.exchanges[-1].request.text
    assert all(words in said for words in ("Answer in French.", "My name is Ada.", "Bonjour."))
    assert said.endswith("What is my name?")


async def test_the_title_of_a_new_conversation_is_the_question(app: App, client) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is a quokka?"}]
    answer = await client.chat.completions.create(model="codeact", messages=messages)
    summary = await app.app.state.parts.store.summary("local", answer.codeact["conversation_id"])
    assert summary.title == "What is a quokka?"


async def test_a_client_that_hangs_up_a_stream_stops_its_turn(app: App, client, model) -> None:
    model.script = lambda _: Reply(["More ", "and "], endless=True, rate=50)
    stream = await ask(client, "go on and on", stream=True)
    conversation = (await anext(aiter(stream))).codeact["conversation_id"]
    await stream.close()
    assert await outcome(app, conversation) == "stopped"


async def test_a_client_that_hangs_up_while_a_cell_runs_stops_it(app: App, client) -> None:
    stream = await ask(client, "run import time\nfor _ in range(600): time.sleep(0.1)", stream=True)
    conversation = (await anext(aiter(stream))).codeact["conversation_id"]
    async with asyncio.timeout(30):
        while (await app.app.state.parts.kernel.status(conversation)).state != "busy":
            await asyncio.sleep(0.05)
    await stream.close()
    assert await outcome(app, conversation) == "stopped"
    assert (await app.app.state.parts.kernel.status(conversation)).state != "busy"


async def test_a_client_that_hangs_up_before_the_answer_stops_its_turn(app: App, client, model) -> None:
    asked = model.server.asked
    model.script = lambda _: Reply(["More ", "and "], endless=True, rate=50)
    request = asyncio.ensure_future(ask(client, "never mind"))
    await until(lambda: model.server.asked > asked)
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    [newest] = await app.app.state.parts.store.conversations("local", 1, None)
    assert await outcome(app, newest.id) == "stopped"


async def test_a_second_request_to_a_busy_conversation_is_refused(app: App, client, model) -> None:
    hold = asyncio.Event()
    model.script = lambda _: Reply(["Wait ", Hold(hold)])
    stream = aiter(await ask(client, "wait", stream=True))
    conversation = (await anext(stream)).codeact["conversation_id"]
    with pytest.raises(openai.ConflictError, match="busy"):
        await ask(client, "me too", conversation=conversation)
    hold.set()
    assert [chunk async for chunk in stream]


async def test_an_unknown_conversation_is_404(client) -> None:
    with pytest.raises(openai.NotFoundError, match="no such conversation"):
        await ask(client, "hello", conversation="nobody")


async def test_an_unknown_model_is_404_and_named(client) -> None:
    with pytest.raises(openai.NotFoundError, match="scripted"):
        await client.chat.completions.create(model="gpt-9", messages=[{"role": "user", "content": "x"}])


@pytest.mark.parametrize(
    "wrong", [{"n": 2}, {"tools": [{"type": "function", "function": {"name": "f"}}]}, {"stop": ["x"]}, {"messages": []}]
)
async def test_what_cannot_be_done_is_400_in_words(client, wrong) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        await client.chat.completions.create(**{"model": "codeact", "messages": [{"role": "user", "content": "x"}]} | wrong)
    error = refused.value.body
    assert error["type"] == "invalid_request_error" and error["message"] and error["param"] == next(iter(wrong))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model": 1}', b"\xff", b"x" * (5 << 20)])
async def test_a_body_that_is_no_request_is_400(app: App, body: bytes) -> None:
    async with aiohttp.ClientSession() as http, http.post(f"{app.url}/v1/chat/completions", data=body) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["message"]


async def test_other_paths_say_what_there_is(app: App) -> None:
    async with aiohttp.ClientSession() as http, http.post(f"{app.url}/v1/embeddings", json={}) as answer:
        assert answer.status == 404
        assert "/v1/chat/completions" in (await answer.json())["error"]["message"]


async def test_a_page_of_another_origin_gets_nothing(app: App) -> None:
    async with aiohttp.ClientSession(headers={"Origin": "http://evil.example"}) as http:
        async with http.get(f"{app.url}/v1/models") as answer:
            assert answer.status == 403


async def test_a_model_server_that_fails_is_an_error_with_the_conversations_id(client, model) -> None:
    model.script = lambda _: failure(400, "no such thing")
    with pytest.raises(openai.APIStatusError) as failed:
        await ask(client, "hello")
    assert failed.value.status_code == 502
    assert failed.value.response.json()["codeact"]["conversation_id"]


async def test_a_model_server_that_fails_in_a_stream_ends_it_with_an_error(client, model) -> None:
    replies = iter([action("print(1)", "fenced"), failure(400, "broken")])
    model.script = lambda _: next(replies)
    content = ""
    with pytest.raises(openai.APIError):
        async for chunk in await ask(client, "go", stream=True):
            content += chunk.choices[0].delta.content or ""
    assert "```text\n1\n```" in content


async def test_a_turn_at_its_limit_ends_with_length(model, tmp_path) -> None:
    async with ScriptedModel(lambda _: action("print(1)", "fenced")) as server:
        settings = settings_for(tmp_path, server.base_url, turn_max_executions=2)
        async with serving(settings) as app, AsyncOpenAI(base_url=f"{app.url}/v1", api_key="x") as client:
            answer = await ask(client, "go")
    assert answer.choices[0].finish_reason == "length"
    assert len(answer.codeact["cells"]) == 2 and answer.codeact["outcome"] == "execution_limit"
