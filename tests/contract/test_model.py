"""What every Model adapter must do, against a scripted server over real HTTP; and once against the real embedded model."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.adapters.model_openai import OpenAIModel
from orchestrator.ports import Failed, Finished, ModelRequest, Text, ToolCall
from tests.support.model_server import ScriptedModel
from tests.support.scripts import Call, Hold, Raw, Reply, Think, Wait, action

ADAPTERS = [OpenAIModel]
ASKED = ({"role": "user", "content": "What is 12 * 7?"},)


@pytest.fixture(params=ADAPTERS, ids=lambda adapter: adapter.__name__)
def connect(request):
    """Makes the adapter for a scripted server."""

    def make(server, **options):
        limits = {"first_token_timeout_s": 5.0, "idle_timeout_s": 5.0} | options
        return request.param(server.base_url, **limits)

    return make


def asking(**changes):
    return ModelRequest(**{"messages": ASKED, "stop": (), "max_tokens": 200, "temperature": 0.0} | changes)


async def heard(model, request=None):
    """Every signal of one request; the model is closed."""
    async with aclosing(model.stream(request or asking())) as stream:
        signals = [signal async for signal in stream]
    await model.close()
    return signals


def text_of(signals):
    return "".join(signal.text for signal in signals if isinstance(signal, Text))


async def test_the_text_arrives_whole_and_ends_with_one_end(connect):
    async with ScriptedModel(["It is 84, ünïcödé 🙂."]) as server:
        signals = await heard(connect(server))
    assert text_of(signals) == "It is 84, ünïcödé 🙂."
    assert isinstance(signals[-1], Finished)
    assert signals[-1].reason == "stop"
    assert [type(signal) for signal in signals[:-1]] == [Text] * (len(signals) - 1)


async def test_the_usage_is_what_the_server_counted(connect):
    async with ScriptedModel(["Hello there", "Hello again"]) as server:
        model = connect(server)
        async with aclosing(model.stream(asking(messages=({"role": "user", "content": "x" * 400},)))) as stream:
            first = [signal async for signal in stream][-1].usage
        second = (await heard(model, asking(messages=({"role": "user", "content": "x" * 400},))))[-1].usage
    assert (first.prompt_tokens, first.completion_tokens, first.cached_tokens) == (113, 3, 0)
    assert second.cached_tokens == 112  # full blocks of 16


async def test_a_stop_string_ends_the_text_before_it(connect):
    async with ScriptedModel([action("print(84)", "codeact", "I compute. ")]) as server:
        signals = await heard(connect(server), asking(stop=("</execute>", "<|im_end|>")))
    assert text_of(signals) == "I compute. <execute>\nprint(84)\n"
    assert signals[-1].reason == "stop"


async def test_the_token_limit_is_told_as_length(connect):
    async with ScriptedModel(["a long story about nothing"]) as server:
        signals = await heard(connect(server), asking(max_tokens=3))
    assert (text_of(signals), signals[-1].reason) == ("a long story"[:12], "length")


async def test_tool_calls_arrive_in_pieces_with_one_name(connect):
    reply = Reply(["So: ", Call("", "execute_python"), Wait(0.01), Call('{"code"'), Wait(0.01), Call(': "1"}')])
    async with ScriptedModel([reply]) as server:
        signals = await heard(
            connect(server), asking(tools=({"type": "function", "function": {"name": "execute_python"}},))
        )
    calls = [signal for signal in signals if isinstance(signal, ToolCall)]
    assert text_of(signals) == "So: "
    assert [call.name for call in calls if call.name] == ["execute_python"]
    assert "".join(call.arguments for call in calls) == '{"code": "1"}'
    assert signals[-1].reason == "tool_calls"


async def test_what_comes_in_one_read_is_one_signal(connect):
    async with ScriptedModel([Reply(["token "] * 100)]) as server:
        signals = await heard(connect(server), asking(max_tokens=500))
    assert len(signals) <= 4


async def test_text_is_told_before_the_answer_is_complete(connect):
    gate = asyncio.Event()
    async with ScriptedModel([Reply(["first", Hold(gate), " second"])]) as server:
        model = connect(server)
        async with aclosing(model.stream(asking())) as stream:
            assert await asyncio.wait_for(anext(stream), 2) == Text("first")
            gate.set()
            assert text_of([signal async for signal in stream]) == " second"
        await model.close()


async def test_closing_the_stream_aborts_the_request_at_once(connect):
    async with ScriptedModel([Reply(["drip "] * 5, endless=True, rate=200)]) as server:
        model = connect(server)
        stream = model.stream(asking())
        await anext(stream)
        await stream.aclose()
        await server.quiet(0.5)
        produced = server.exchanges[0].produced
        await asyncio.sleep(0.05)
        assert server.exchanges[0].aborted
        assert server.exchanges[0].produced == produced
        await model.close()


@pytest.mark.parametrize("reply", [Reply("slow", ttft_s=30), Reply(hang=True)], ids=["prefilling", "hanging"])
async def test_cancelling_a_reader_that_waits_aborts_the_request_at_once(connect, reply):
    async with ScriptedModel([reply]) as server:
        model = connect(server)
        task = asyncio.create_task(heard(model))
        await server.seen(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.quiet(0.5)
        assert server.exchanges[0].aborted
        await model.close()


async def test_one_connection_serves_many_requests(connect):
    async with ScriptedModel(lambda request: Reply(f"number {request.n}")) as server:
        model = connect(server, name="scripted")
        for n in range(5):
            async with aclosing(model.stream(asking())) as stream:
                async for signal in stream:
                    if isinstance(signal, Finished):
                        break  # as the runner does
            assert server.exchanges[n].finished
        await model.close()
    assert server.accepted == 1


async def test_many_streams_run_at_the_same_time(connect):
    async with ScriptedModel(lambda request: Reply(["tick "] * 10, rate=100)) as server:
        model = connect(server, name="scripted")

        async def one():
            return text_of([signal async for signal in model.stream(asking())])

        texts = await asyncio.wait_for(asyncio.gather(*(one() for _ in range(50))), 5)
        await model.close()
    assert texts == ["tick " * 10] * 50


async def test_the_first_model_of_the_server_is_taken_when_none_is_named(connect):
    async with ScriptedModel(["hi"], models=("first", "second")) as server:
        model = connect(server)
        await heard(model)
    assert model.name == "first"
    assert server.exchanges[0].request.body["model"] == "first"


async def test_the_request_holds_the_messages_as_they_were_given(connect):
    messages = ({"role": "system", "content": "Be ünïque."}, {"role": "user", "content": "a\nb"})
    async with ScriptedModel(["ok", "ok"], strict=True) as server:
        model = connect(server)
        async with aclosing(model.stream(asking(messages=messages, stop=("</execute>",), seed=3))) as stream:
            first = [signal async for signal in stream]
        await heard(model, asking(messages=messages, stop=("</execute>",), seed=3))
    assert isinstance(first[-1], Finished)  # a server that refuses unknown fields
    body = server.exchanges[0].request.body
    assert body["messages"] == list(messages)
    assert (body["stop"], body["max_tokens"], body["temperature"], body["seed"]) == (["</execute>"], 200, 0.0, 3)
    assert server.exchanges[0].request.raw == server.exchanges[1].request.raw


# ---- failures: always one Failed, in words, and what came before is kept ----------------------------------------------


def failed(signals, *expected):
    """The last signal is the only end, and its words hold what is expected."""
    assert [type(signal) for signal in signals if not isinstance(signal, Text | ToolCall)] == [Failed]
    for words in expected:
        assert words in signals[-1].words
    assert signals[-1].words.endswith((".", "…"))
    return signals[-1]


async def test_a_server_that_is_down_is_named_with_its_address(connect):
    async with ScriptedModel([]) as server:
        await server.stop()
        assert failed(await heard(connect(server)), f"127.0.0.1:{server.port}", "Start it").retryable


async def test_a_server_that_comes_back_is_found(connect):
    server = ScriptedModel(["back"])
    await server.start()
    await server.stop()
    model = connect(server, name="scripted")
    task = asyncio.create_task(heard(model))
    await asyncio.sleep(0.3)
    await server.start()
    assert text_of(await task) == "back"
    await server.stop()


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_server_is_asked_again(connect, status):
    busy = Reply(status=status, body=b'{"error":{"message":"Loading model"}}', headers={"Retry-After": "0"})
    async with ScriptedModel([busy, busy, "ready"]) as server:
        signals = await heard(connect(server))
    assert text_of(signals) == "ready"
    assert len(server.exchanges) == 3


async def test_a_server_that_asks_for_much_patience_is_reported_at_once(connect):
    async with ScriptedModel([Reply(status=429, body=b"{}", headers={"Retry-After": "120"})]) as server:
        assert failed(await heard(connect(server)), "busy", "in 120 s").retryable
    assert len(server.exchanges) == 1


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (500, b'{"error":{"message":"CUDA out of memory"}}', "CUDA out of memory"),
        (502, b"<html>Bad   gateway</html>", "502"),
        (401, b'{"error":{"message":"Incorrect API key provided: sk-abcdef123456"}}', "CODEACT_MODEL_API_KEY"),
        (404, b'{"error":{"message":"The model `x` does not exist."}}', "CODEACT_MODEL_NAME"),
        (307, b"", "CODEACT_MODEL_URL"),
        (400, b'{"error":{"message":"temperature must be a number"}}', "temperature must be a number"),
        (400, b'{"message":"This model\'s maximum context length is 4096 tokens."}', "Start a new conversation"),
        (
            400,
            b'{"error":{"type":"exceed_context_size_error","message":"the request exceeds the available context size"}}',
            "Start a new conversation",
        ),
    ],
)
async def test_a_refusal_is_told_once_with_its_cause(connect, status, body, expected):
    async with ScriptedModel([Reply(status=status, body=body)]) as server:
        signal = failed(await heard(connect(server)), expected)
    assert "sk-abc" not in signal.words
    assert len(server.exchanges) == 1


async def test_the_key_is_sent_and_never_told(connect):
    key = "a-secret-of-ours"
    echo = Reply(status=500, body=b'{"error":{"message":"bad key a-secret-of-ours"}}')
    async with ScriptedModel(["hello", echo], api_key=key) as server:
        assert text_of(await heard(connect(server, api_key=key))) == "hello"
        assert key not in failed(await heard(connect(server, api_key=key))).words
        failed(await heard(connect(server, api_key="wrong")), "CODEACT_MODEL_API_KEY")


async def test_a_silent_server_is_given_up_before_the_first_byte(connect):
    async with ScriptedModel([Reply(hang=True)]) as server:
        failed(await heard(connect(server, first_token_timeout_s=0.2)), "has not begun to answer", "0 s")
        await server.quiet(0.5)


async def test_headers_and_thoughts_alone_are_not_a_first_token(connect):
    async with ScriptedModel([Reply([Wait(30), "late"])]) as server:
        failed(await heard(connect(server, first_token_timeout_s=0.2)), "has not begun to answer")
        await server.quiet(0.5)


async def test_a_server_that_falls_silent_is_given_up_and_its_text_kept(connect):
    async with ScriptedModel([Reply(["so far", Wait(30), "late"])]) as server:
        signals = await heard(connect(server, idle_timeout_s=0.2))
        assert text_of(signals) == "so far"
        assert failed(signals, "silent").retryable
        await server.quiet(0.5)


async def test_a_slow_reader_is_not_a_silent_server(connect):
    gate = asyncio.Event()
    async with ScriptedModel([Reply(["a", Hold(gate), "b"])]) as server:
        model = connect(server, idle_timeout_s=0.1)
        async with aclosing(model.stream(asking())) as stream:
            await anext(stream)
            await asyncio.sleep(0.4)
            gate.set()
            assert isinstance([signal async for signal in stream][-1], Finished)
        await model.close()


async def test_a_slow_drip_is_patiently_read(connect):
    async with ScriptedModel([Reply(["drip "] * 10, rate=20)]) as server:
        signals = await heard(connect(server, idle_timeout_s=0.2))
    assert text_of(signals) == "drip " * 10
    assert isinstance(signals[-1], Finished)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'data: {"choices": [{"delta": {"content": "x"\n\n', "not an answer"),
        (b"data: 17\n\n", "not an answer"),
        (b'data: {"choices": {"delta": 3}}\n\n', "not an answer"),
        (b'data: {"error": {"message": "KV cache is full", "code": 500}}\n\n', "KV cache is full"),
        (b"data: " + b"x" * 5_000_000 + b"\n\n", "4 MB"),
    ],
    ids=["cut JSON", "a number", "a wrong shape", "an error", "a huge line"],
)
async def test_what_is_no_answer_ends_the_stream_and_the_request(connect, raw, expected):
    async with ScriptedModel([Reply(["good ", Wait(0.01), Raw(raw), "never read"])]) as server:
        signals = await heard(connect(server))
        assert text_of(signals) == "good "
        failed(signals, expected)
        await server.quiet(0.5)


async def test_a_page_of_a_web_server_is_recognised(connect):
    async with ScriptedModel([Reply(body=b"<!doctype html><p>Hello</p>", content_type="text/html")]) as server:
        failed(await heard(connect(server)), "CODEACT_MODEL_URL")


async def test_a_server_that_does_not_stream_is_understood(connect):
    body = b'{"choices":[{"message":{"content":"whole"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3}}'
    async with ScriptedModel([Reply(body=body)]) as server:
        signals = await heard(connect(server))
    assert (text_of(signals), signals[-1].usage.prompt_tokens) == ("whole", 3)


@pytest.mark.parametrize("kind", ["text/plain", "application/octet-stream", "text/event-stream;charset=UTF-8"])
async def test_a_stream_under_another_content_type_is_read(connect, kind):
    async with ScriptedModel([Reply("fine", content_type=kind)]) as server:
        assert text_of(await heard(connect(server))) == "fine"


@pytest.mark.parametrize("chunked", [True, False])
async def test_an_end_without_done_needs_a_finish_reason(connect, chunked):
    complete = Reply("all of it", done=False, chunked=chunked)
    broken = Reply("part of it", done=False, finish="", chunked=chunked)
    async with ScriptedModel([complete, broken]) as server:
        assert isinstance((await heard(connect(server)))[-1], Finished)
        signals = await heard(connect(server))
    assert text_of(signals) == "part of it"
    failed(signals, "closed the connection", "kept")


async def test_a_server_that_never_stops_is_stopped(connect):
    async with ScriptedModel([Reply(["word "] * 1000, endless=True)]) as server:
        signals = await asyncio.wait_for(heard(connect(server), asking(max_tokens=16)), 10)
        await server.quiet(0.5)
    assert signals[-1].reason == "length"
    assert server.exchanges[0].aborted


async def test_a_huge_token_is_one_text(connect):
    async with ScriptedModel([Reply(["x" * 2_000_000])]) as server:
        assert text_of(await heard(connect(server))) == "x" * 2_000_000


async def test_comments_thoughts_and_odd_line_ends_are_passed_over(connect):
    odd = b': ping\r\n\r\nevent: x\r\ndata:{"choices":[{"delta":{"content":"odd "}}]}\r\n\r\n'
    async with ScriptedModel([Reply([Raw(odd), Think("hm"), "end"])]) as server:
        assert text_of(await heard(connect(server))) == "odd end"


SHARED = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


@settings(max_examples=25, **SHARED)
@given(chunk=st.integers(1, 300), chunked=st.booleans())
async def test_how_the_bytes_are_cut_makes_no_difference(connect, chunk, chunked):
    items = ["Grüße ", "🙂", Call('{"a"', "f"), Call(":1}"), Raw(b": comment\n\n"), "end"]
    async with ScriptedModel([Reply(items, chunk=chunk, chunked=chunked)]) as server:
        signals = await heard(connect(server))
    assert text_of(signals) == "Grüße 🙂end"
    assert "".join(signal.arguments for signal in signals if isinstance(signal, ToolCall)) == '{"a":1}'
    assert isinstance(signals[-1], Finished)


@settings(max_examples=40, **SHARED)
@given(cut_at=st.integers(0, 1600), stall=st.booleans())
async def test_a_fault_at_any_byte_keeps_what_came_and_ends_once(connect, cut_at, stall):
    fault = {"stall_at": cut_at} if stall else {"cut_at": cut_at}
    text = "one two three four five"
    async with ScriptedModel(lambda _: Reply(text, **fault)) as server:
        signals = await heard(connect(server, name="scripted", first_token_timeout_s=0.15, idle_timeout_s=0.15))
    assert text.startswith(text_of(signals))
    ends = [signal for signal in signals if isinstance(signal, Finished | Failed)]
    assert ends == signals[-1:]


# ---- check ---------------------------------------------------------------------------------------------------------------


async def test_the_check_says_whether_the_server_answers(connect):
    async with ScriptedModel([]) as server:
        model = connect(server)
        part = await model.check()
        assert (part.name, part.ok, model.name) == ("model", True, "scripted")
        await server.stop()
        assert (await model.check()).ok  # still good
        await model.close()
        model = connect(server)
        part = await model.check()
        await model.close()
        assert not part.ok
        assert f"127.0.0.1:{server.port}" in part.words


async def test_the_check_names_a_wrong_key(connect):
    async with ScriptedModel([], api_key="right") as server:
        model = connect(server, api_key="wrong")
        assert "CODEACT_MODEL_API_KEY" in (await model.check()).words
        await model.close()


# ---- the real thing ------------------------------------------------------------------------------------------------------


@pytest.mark.model
@pytest.mark.timeout(600)
async def test_the_embedded_model_streams_stops_and_counts():
    from model_server.catalogue import DEFAULT
    from model_server.child import LlamaChild
    from model_server.fetch import fetch

    asked = {"role": "user", "content": "Write the numbers from one to nine in digits, separated by commas."}
    async with LlamaChild(DEFAULT, await fetch(DEFAULT)) as child:
        model = OpenAIModel(child.url, api_key=child.key, first_token_timeout_s=300, idle_timeout_s=60)
        assert (await model.check()).ok
        async with aclosing(model.stream(asking(messages=(asked,), stop=("5",), max_tokens=40))) as stream:
            signals = [signal async for signal in stream]
        assert "4" in text_of(signals)
        assert "5" not in text_of(signals)  # stripped, as everywhere but in vLLM
        assert (signals[-1].reason, model.name) == ("stop", DEFAULT.name)
        assert signals[-1].usage.prompt_tokens > 10
        async with aclosing(model.stream(asking(messages=(asked,), max_tokens=4))) as stream:
            signals = [signal async for signal in stream]
        assert signals[-1].reason == "length"
        assert signals[-1].usage.cached_tokens > 5
        failed([signal async for signal in model.stream(asking(messages=({"role": "user", "content": "word " * 20_000},)))],
               "too long")  # fmt: skip
        await model.close()
        wrong = OpenAIModel(child.url, api_key="wrong", first_token_timeout_s=5, idle_timeout_s=5)
        failed(await heard(wrong), "CODEACT_MODEL_API_KEY")
