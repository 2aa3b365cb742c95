"""The OpenAI adapter's pure parts, and what it does for particular servers."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.adapters import openai_words as words
from orchestrator.adapters.model_openai import OpenAIModel
from orchestrator.adapters.openai_answer import Answer, Tail
from orchestrator.adapters.sse import MAX_EVENT, SseDecoder, TooLong
from orchestrator.ports import Failed, Finished, ModelRequest, Text, ToolCall
from tests.support.model_server import ScriptedModel
from tests.support.scripts import Reply

# ---- server-sent events ------------------------------------------------------------------------------------------


def decoded(pieces):
    decoder = SseDecoder()
    return [event for piece in pieces for event in decoder.feed(piece)] + decoder.flush()


lines = st.sampled_from(
    [b"data: a", b"data:b", b"data:", b"data:  c", b": ping", b"event: x", b"id: 1", b"", b"data", b"\xff"]
)
streams = st.lists(st.tuples(lines, st.sampled_from([b"\n", b"\r\n"]))).map(lambda parts: b"".join(a + b for a, b in parts))


@given(streams, st.data())
def test_any_cut_of_a_stream_gives_the_same_events(stream, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert decoded(pieces) == decoded([stream])


def test_lines_of_one_event_are_joined_and_one_space_is_dropped():
    assert decoded([b"data: one\ndata:two\r\ndata:  three\n\n: comment\n\ndata\n\n"]) == [b"one\ntwo\n three"]


def test_an_event_without_its_blank_line_comes_at_the_end():
    assert decoded([b"data: last"]) == [b"last"]


@pytest.mark.parametrize("piece", [b"x" * 65536, b"data: " + b"x" * 65530 + b"\n"])
def test_what_is_kept_of_an_endless_event_is_bounded(piece):
    decoder = SseDecoder()
    with pytest.raises(TooLong):
        for _ in range(MAX_EVENT // len(piece) + 2):
            decoder.feed(piece)


# ---- answers ------------------------------------------------------------------------------------------


def event(delta, **more):
    return b"data: " + orjson.dumps({"choices": [{"index": 0, "delta": delta, **more}]}) + b"\n\n"


def answered(*events, **options):
    answer = Answer(**{"limit": 1000, **options})
    signals = [signal for data in events for signal in answer.feed(data)]
    return signals + answer.close() + answer.end()


def test_texts_and_calls_of_one_read_are_merged_in_order():
    calls = [{"index": 0, "function": {"name": "f", "arguments": "{"}}], [{"index": 0, "function": {"arguments": "}"}}]
    read = b"".join(
        [
            event({"content": "a"}),
            event({"content": "b"}),
            *(event({"tool_calls": call}) for call in calls),
            event({"content": "c"}),
        ]
    )
    assert answered(read)[:-1] == [Text("ab"), ToolCall(0, "f", "{}"), Text("c")]


def test_a_second_call_of_the_same_name_stays_its_own():
    calls = event({"tool_calls": [{"index": n, "function": {"name": "f", "arguments": str(n)}} for n in range(2)]})
    assert answered(calls)[:2] == [ToolCall(0, "f", "0"), ToolCall(1, "f", "1")]


def test_arguments_may_come_as_an_object_and_content_in_parts():
    call = {"function": {"name": "f", "arguments": {"code": "1"}}}
    signals = answered(event({"tool_calls": [call]}), event({"content": [{"type": "text", "text": "hi"}]}))
    assert signals[:2] == [ToolCall(0, "f", '{"code":"1"}'), Text("hi")]


@pytest.mark.parametrize(
    ("reason", "expected"), [("stop", "stop"), ("length", "length"), ("tool_calls", "tool_calls"), ("eos", "stop")]
)
def test_every_reason_to_finish_is_one_of_three(reason, expected):
    assert answered(event({}, finish_reason=reason))[-1] == Finished(expected, None)


def test_a_content_filter_is_a_failure():
    assert isinstance(answered(event({}, finish_reason="content_filter"))[-1], Failed)


def test_what_was_cached_is_read_where_llama_cpp_says_it():
    chunk = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}, "timings": {"cache_n": 7}}
    usage = answered(event({}, finish_reason="stop"), b"data: " + orjson.dumps(chunk) + b"\n\n")[-1].usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (9, 2, 7)


def test_nothing_after_the_end_is_read():
    assert answered(event({"content": "a"}), b"data: [DONE]\n\n" + event({"content": "b"})) == [
        Text("a"),
        Finished("stop", None),
    ]


STOPS = ("<|im_end|>", "<|im_start|>", "\nObservation:")


@given(st.lists(st.sampled_from(["<", "|", "im_end", "|>", "\n", "Observation:", "a", "<|im_end|>"]), max_size=8))
def test_text_held_back_is_lost_only_when_it_is_the_stop_string(pieces):
    tail, ended = Tail(STOPS), Tail(STOPS)
    assert "".join(tail.feed(piece) for piece in pieces) + tail.flush(stopped=False) == "".join(pieces)
    text = "".join(ended.feed(piece) for piece in [*pieces, "<|im_", "end|>"]) + ended.flush(stopped=True)
    assert text == "".join(pieces)


# ---- words ------------------------------------------------------------------------------------------


def refusal(status, headers=None, body=b""):
    return words.refused("host:80", "m", status, headers or {}, body, now=1_000_000_000.0)


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7), ("Sun, 09 Sep 2001 01:46:50 GMT", 10), ("soon", 0), ("-3", 0), ("", 0)]
)
def test_retry_after_is_seconds_or_a_date(value, seconds):
    assert refusal(429, {"Retry-After": value}).after_s == seconds


def test_a_long_message_of_the_server_is_shortened_to_one_line():
    told = refusal(500, body=b"line\n" * 1000).words
    assert "\n" not in told
    assert len(told) < 500


@pytest.mark.parametrize(
    "leak", ["the key secret-1 is bad", "Incorrect API key: sk-proj-abc123DEF", "hf_abcdefghij is expired"]
)
def test_nothing_like_a_key_is_repeated(leak):
    clean = words.without_key(leak, "secret-1")
    assert "[key]" in clean
    assert not any(part in clean for part in ("secret-1", "abc123", "abcdefghij"))


# ---- particular servers ------------------------------------------------------------------------------------------


async def asked(server, **options):
    model = OpenAIModel(server.base_url, first_token_timeout_s=5, idle_timeout_s=5, **options)
    request = ModelRequest(
        messages=({"role": "user", "content": "go"},), stop=("</execute>", "<|im_end|>"), max_tokens=100, temperature=0.0
    )
    signals = [signal async for signal in model.stream(request)]
    await model.close()
    return "".join(signal.text for signal in signals if isinstance(signal, Text)), signals[-1]


@pytest.mark.parametrize(
    ("said", "expected"),
    [("<execute>1</execute> more", "<execute>1</execute>"), ("Done<|im_end|>", "Done"), ("a < b", "a < b")],
)
async def test_vllm_leaves_the_closing_tag_in_and_nothing_else(said, expected):
    async with ScriptedModel([said], owned_by="vllm") as server:
        text, end = await asked(server)
    assert server.exchanges[0].request.body["include_stop_str_in_output"] is True
    assert (text, end.reason) == (expected, "stop")


async def test_an_address_without_a_path_means_v1():
    async with ScriptedModel(["hi"]) as server:
        model = OpenAIModel(server.base_url.removesuffix("/v1"), first_token_timeout_s=5, idle_timeout_s=5)
        assert (await model.check()).ok
        await model.close()


async def test_a_model_without_a_name_needs_a_list(monkeypatch):
    async with ScriptedModel(["hi"], models=()) as server:
        _, end = await asked(server)
    assert "CODEACT_MODEL_NAME" in end.words


async def test_a_large_flat_stream_arrives_whole():
    async with ScriptedModel([Reply(["word "] * 20_000)]) as server:
        model = OpenAIModel(server.base_url, first_token_timeout_s=5, idle_timeout_s=5)
        request = ModelRequest(messages=({"role": "user", "content": "go"},), stop=(), max_tokens=20_000, temperature=0.0)
        signals = [signal async for signal in model.stream(request)]
        await model.close()
    assert "".join(signal.text for signal in signals[:-1]) == "word " * 20_000
    assert isinstance(signals[-1], Finished)
