"""Messages of a hostile kernel become our events, or nothing; nothing raises."""

from __future__ import annotations

import json
import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor import jupyter
from executor.jupyter import Message, decode, output, request
from executor.wire import Clear, Display, Raised, Stream


def frame(kind: str, content: object, parent: object = None, channel: str = "iopub", header: object = None) -> bytes:
    """A V1 frame as a gateway sends it, from whatever JSON."""
    parts = [channel.encode()]
    parts += [json.dumps(part).encode() for part in (header or {"msg_type": kind}, parent or {}, {}, content)]
    offsets = [8 * (len(parts) + 2)]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    numbers = [len(offsets), *offsets]
    return b"".join(number.to_bytes(8, "little") for number in numbers) + b"".join(parts)


def shown(kind: str, content: object):
    message = decode(frame(kind, content))
    assert message is not None
    return output(message)


def test_both_framings_say_the_same():
    content = {"name": "stdout", "text": "hé\n"}
    text = json.dumps(
        {
            "channel": "iopub",
            "header": {"msg_type": "stream"},
            "parent_header": {"msg_id": "p"},
            "metadata": {},
            "content": content,
        }
    )
    binary, plain = decode(frame("stream", content, {"msg_id": "p"})), decode(text)
    assert binary is not None and plain is not None
    assert (binary.channel, binary.kind, binary.parent, binary.content) == ("iopub", "stream", "p", content)
    assert (plain.channel, plain.kind, plain.parent, plain.content) == ("iopub", "stream", "p", content)


def test_a_request_is_a_frame_that_reads_back():
    read = decode(request("execute_request", jupyter.execute_content("x = '\ud800'"), "id", "session"))
    assert read is not None and read.kind == "execute_request" and read.channel == "shell"
    assert read.content["code"] == "x = '?'" and read.content["allow_stdin"] is False


def test_every_kind_of_output_is_understood():
    assert shown("stream", {"name": "stderr", "text": "a"}) == Stream(name="stderr", text="a")
    bundle = {"text/plain": "1", "application/json": {"a": [1]}}
    assert shown("execute_result", {"data": bundle, "metadata": {"m": 1}}) == Display(data=bundle, metadata={"m": 1})
    update = {"data": bundle, "transient": {"display_id": "d"}}
    assert shown("update_display_data", update) == Display(data=bundle, display_id="d", update=True)
    assert shown("clear_output", {"wait": True}) == Clear(wait=True)
    error = {"ename": "E", "evalue": "v", "traceback": ["a", 3, "b"]}
    assert shown("error", error) == Raised(ename="E", evalue="v", traceback=["a", "b"])


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("stream", {"name": "stdin", "text": "x"}),
        ("stream", {"name": "stdout", "text": 3}),
        ("stream", {"name": ["stdout"], "text": "x"}),
        ("display_data", {"data": [1]}),
        ("display_data", {}),
        ("display_data", {"data": {str(n): "x" for n in range(100)}}),
        ("no_such_kind", {}),
    ],
)
def test_t19_wrong_types_show_nothing(kind, content):
    assert shown(kind, content) is None


def test_t19_wrong_types_beside_a_good_bundle_are_left_out():
    got = shown("display_data", {"data": {"text/plain": "1", "x": None}, "metadata": 3, "transient": {"display_id": []}})
    assert got == Display(data={"text/plain": "1"})


def test_t19_a_forged_error_still_says_that_the_code_raised():
    assert shown("error", {"ename": 3, "traceback": "no list"}) == Raised(ename="", evalue="", traceback=[])


def test_an_endless_traceback_is_cut():
    raised = shown("error", {"ename": "E" * 10**6, "evalue": "v" * 10**6, "traceback": ["t" * 100] * 10**5})
    assert isinstance(raised, Raised)
    assert len(raised.ename) < 300 and len(raised.evalue) < 70_000 and sum(map(len, raised.traceback)) < 300_000


def test_t19_json_nested_too_deep_is_left_out_before_anything_chokes_on_it():
    deep: object = 1
    for _ in range(900):
        deep = [deep]
    got = shown("display_data", {"data": {"application/json": deep, "text/plain": "1"}})
    assert got == Display(data={"text/plain": "1"})


def test_t19_json_that_would_swell_in_memory_is_left_out_unread():
    message = decode(frame("display_data", {"data": {"application/json": [[]] * 1_000_000}}))
    assert message is not None and message.content == {} and message.left_out == message.size > 4_000_000
    csv = "1,2,3\n" * 500_000
    assert shown("stream", {"name": "stdout", "text": csv}) == Stream(name="stdout", text=csv)


def test_t19_bytes_that_are_no_text_are_replaced():
    good = frame("stream", {"name": "stdout", "text": "abc"})
    message = decode(good.replace(b"abc", b"a\xffc"))
    assert message is not None and output(message) == Stream(name="stdout", text="a�c")


def test_t19_nan_and_lone_surrogates_are_replaced():
    content = jupyter.loads(b'{"a": NaN, "b": "\\ud800", "c": -Infinity}')
    assert content == {"a": None, "b": "?", "c": None}


@pytest.mark.parametrize("data", [b"", b"\0" * 8, b"\xff" * 64, (6).to_bytes(8, "little") + b"\xff" * 48, b"\x06" * 200])
def test_t19_frames_that_are_none_are_dropped(data):
    assert decode(data) is None


@given(st.binary(max_size=300) | st.text(max_size=300))
def test_t19_no_bytes_raise(data):
    assert decode(data) is None or isinstance(decode(data), Message)


@given(st.data())
def test_t19_a_damaged_frame_never_raises(data):
    whole = bytearray(frame("display_data", {"data": {"text/plain": "1"}}, {"msg_id": "p"}))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    message = decode(bytes(whole))
    if message is not None:
        output(message)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["stream", "display_data", "update_display_data", "clear_output", "error", "status"]), json_values)
def test_whatever_is_shown_can_be_sent_on(kind, content):
    for candidate in (content, {"data": content}, {"ename": content, "traceback": content}):
        message = decode(frame(kind, candidate))
        if message is not None and (event := output(message)) is not None:
            assert orjson.loads(event.model_dump_json())


TEXTS = st.text(alphabet='"\\\\,[{é\\nx', max_size=200)


@given(
    st.recursive(
        TEXTS | st.integers(), lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5)
    )
)
def test_t19_no_value_hides_in_what_is_taken_for_text(value):
    """What is left out of the count is in strings: the rest still holds every bracket and comma between values."""
    content = json.dumps(value).encode()
    outside = re.sub(r'"(?:[^"\\]|\\.)*"', "", content.decode())
    assert jupyter._outside_strings(content) >= len(outside)


@pytest.mark.parametrize(
    ("content", "crowded"),
    [
        (b'{"data": "' + b"[,{" * 400_000 + b'"}', False),
        (b'{"data": "' + b"x" * 10**6 + b'", "more": [' + b"0," * 600_000 + b"0]}", True),
        (b'{"data": "' + b"\\\\" * 10**6 + b'", "more": [' + b"0," * 600_000 + b"0]}", True),
        (b'{"a\\\\\\"": [' + b"[]," * 400_000 + b"0]}", True),
        (b"[" * 10**6, True),
        (b'["' + b'\\"' * 10**6 + b'"]', False),
    ],
)
def test_t19_crowded_json_is_known_before_it_is_parsed(content, crowded):
    assert jupyter._crowded(content) is crowded
