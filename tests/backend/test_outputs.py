"""A cell's outputs: what a reader sees, what it costs, and that every told change adds up."""

from __future__ import annotations

import json
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.wire import Clear, Display, Raised, Stream
from orchestrator.agent.outputs import Collector, apply_ops, merge
from orchestrator.agent.terminal import Screen, plain
from orchestrator.protocol.outputs import ErrorOutput, OmittedOutput, Put, RichOutput, TextOutput, Wipe, Write


def out(text: str, name="stdout", late=False, gap=0) -> Stream:
    return Stream(name=name, text=text, late=late, gap=gap)


def collect(*events, **limits) -> list:
    """The outputs in the end, having checked that the told changes give the same, one by one and merged."""
    collector = Collector(**limits)
    told: list = []
    for event in events:
        told += collector.feed(event)
        assert apply_ops([], told) == collector.outputs
    told += collector.finish()
    assert apply_ops([], told) == collector.outputs
    assert apply_ops([], merge(told)) == collector.outputs
    return collector.outputs


def texts(outputs) -> list[str]:
    return [output.text for output in outputs]


# ---- the terminal ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("a\nb\n", "a\nb\n"),
        ("a\r\nb\r\n", "a\nb\n"),
        ("10%\r20%\r30%\n", "30%\n"),
        ("abcdef\rX", "Xbcdef"),
        ("abc\b\bX", "aXc"),
        ("\b\bX", "X"),
        ("loading...\r\x1b[Kdone\n", "done\n"),
        ("loading...\x1b[2K\rdone\n", "done\n"),
        ("abc\x1b[1Kd", "   d"),
        ("one\ntwo\n\x1b[2A1\x1b[B", "1ne\ntwo\n"),
        ("one\ntwo\x1b[1A\rONE\n", "ONE\ntwo"),
        ("a 1%\nb 1%\n\x1b[A\x1b[A\ra 2%\n\rb 2%\n", "a 2%\nb 2%\n"),
        ("one\ntwo\nthree\x1b[2A\r\x1b[J1", "1"),
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        ("\x1b[38;2;1;2;3mx\x1b[m", "\x1b[38;2;1;2;3mx\x1b[m"),
        ("\x1b[32m10%\x1b[0m\r\x1b[32m20%\x1b[0m", "\x1b[32m20%\x1b[0m"),
        ("\x1b]0;title\x07x\x1b]8;;http://a\x1b\\link\x1b]8;;\x1b\\", "xlink"),
        ("a\x1b[?25lb\x1b[?25h\x1b[5;5Hc\x1b7\x1b8\x1bcd", "abcd"),
        ("\x1bP1;2|data\x1b\\x\x1b_y\x1b\\\x1b^z\x1b\\", "x"),
        ("\x9b31mx\x85y\x90q\x9cz", "x\nyz"),
        ("a\0b\x07c\x7fd\x01", "abcd"),
        ("tab\there", "tab\there"),
        ("1\x0c2\x0b3", "1\n2\n3"),
        ("ab\x1b[3Cc\x1b[2G!", "a!   c"),
        ("\x1b", ""),
        ("é\rè", "è"),
    ],
)
def test_a_terminal_shows(written, shown):
    assert plain(written) == shown
    assert texts(collect(*(out(character) for character in written))) == ([shown] if shown else [])


def test_halves_of_characters_are_joined_or_replaced():
    assert plain("\ud83d\ude00 \ud83d") == "😀 �"


NOISE = st.sampled_from(
    ["a", "bc", "é", "😀", "\n", "\r", "\b", "\r\n", "\t", "\x1b[A", "\x1b[2A", "\x1b[B", "\x1b[K", "\x1b[2K", "\x1b[1K",
     "\x1b[J", "\x1b[31m", "\x1b[0m", "\x1b[", "\x1b]", "\x07", "\x1b\\", "31", "m", "\x1b", "\0", "\x9b", "\x90", "\x9c",
     "\x1b[3C", "\x1b[5G", "x" * 300, "line\n" * 40, "x" * 5000]
)  # fmt: skip
WRITES = st.lists(NOISE | st.text(max_size=3), max_size=25)


@settings(max_examples=800, deadline=None)
@given(WRITES, st.data())
def test_cutting_a_stream_differently_shows_the_same(parts, data):
    text = "".join(parts)
    whole = plain(text)
    screen = Screen()
    shown = ""
    for part in parts:
        screen.write(part)
        if (change := screen.changes()) is not None:
            at, new = change
            assert 0 <= at <= len(shown)
            shown = shown[:at] + new
    if max((len(line) for line in text.split("\n")), default=0) < 4096:  # longer rows settle where they are cut
        assert shown == whole
    shown.encode()
    assert not any(ord(c) < 32 and c not in "\n\t\x1b" for c in shown)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200) | st.binary(max_size=300).map(lambda noise: noise.decode("latin-1")))
def test_whatever_is_printed_is_harmless(text):
    for output in collect(out(text)):
        json.dumps(output.text).encode()
        assert "\0" not in output.text
        rest = output.text
        while "\x1b" in rest:
            rest = rest[rest.index("\x1b") :]
            assert rest.startswith("\x1b[") and rest.split("m")[0][2:].strip("0123456789;:") == ""
            rest = rest[2:]


# ---- items -----------------------------------------------------------------------------------------------------------


def test_neighbouring_text_of_one_stream_is_one_item():
    outputs = collect(out("a"), out("b\n"), out("!", "stderr"), out("c"), out("late", late=True))
    assert [(o.name, o.text, o.late) for o in outputs] == [
        ("stdout", "ab\n", False), ("stderr", "!", False), ("stdout", "c", False), ("stdout", "late", True),
    ]  # fmt: skip


def test_a_small_addition_costs_a_small_change():
    collector = Collector()
    collector.feed(out("x" * 100_000))
    assert collector.feed(out("y")) == [Write(index=0, at=100_000, text="y")]


def test_a_progress_bar_sends_only_its_line():
    collector = Collector()
    collector.feed(out("start\n 10%"))
    assert collector.feed(out("\r 20%")) == [Write(index=0, at=6, text=" 20%")]


def test_a_display_keeps_its_bundle_whole():
    bundle = {"text/html": "<b>1</b>", "application/json": {"a": [1, None]}, "text/plain": "1"}
    assert collect(Display(data=bundle, metadata={"x": 1})) == [RichOutput(data=bundle, metadata={"x": 1}, display_id=None)]


def test_an_update_replaces_the_display_in_its_place():
    outputs = collect(
        Display(data={"text/plain": "1"}, display_id="d"),
        out("between"),
        Display(data={"text/plain": "1"}, display_id="d"),
        Display(data={"text/plain": "2"}, display_id="d", update=True),
    )
    assert [getattr(o, "data", None) for o in outputs] == [{"text/plain": "2"}, None, {"text/plain": "2"}]


def test_an_update_of_a_display_of_an_earlier_cell_is_shown_here():
    outputs = collect(*(Display(data={"text/plain": str(n)}, display_id="d", update=True) for n in range(3)))
    assert outputs == [RichOutput(data={"text/plain": "2"}, metadata={}, display_id="d")]


def test_clear_output_wipes_at_once_or_with_the_next_output():
    assert collect(out("a"), Clear()) == []
    assert texts(collect(out("a"), Clear(), out("b"))) == ["b"]
    assert texts(collect(out("a"), Clear(wait=True))) == ["a"]
    collector = Collector()
    collector.feed(out("a"))
    assert collector.feed(Clear(wait=True)) == []
    assert [type(op) for op in collector.feed(out("b"))] == [Wipe, Put]


def test_a_display_forgotten_by_clear_is_shown_anew_when_updated():
    outputs = collect(
        Display(data={"text/plain": "1"}, display_id="d"), Clear(),
        Display(data={"text/plain": "2"}, display_id="d", update=True),
    )  # fmt: skip
    assert [o.data for o in outputs] == [{"text/plain": "2"}]


def test_an_error_is_kept_clean_and_short():
    (error,) = collect(
        Raised(ename="E\0", evalue="v" * 50_000, traceback=["\x1b[31ma\x1b[0m", "b\x1b[5;5H" + "x" * 100_000])
    )
    assert isinstance(error, ErrorOutput)
    assert error.ename == "E" and len(error.evalue) < 9_000
    assert error.traceback.startswith("\x1b[31ma\x1b[0m\nbx") and len(error.traceback) < 70_000


def test_a_bundle_with_nul_and_half_characters_is_made_storable():
    (rich,) = collect(Display(data={"text/plain": "a\0\ud800", "application/json": {"k\0": ["\0"]}}))
    assert rich.data == {"text/plain": "a��", "application/json": {"k�": ["�"]}}


# ---- limits ----------------------------------------------------------------------------------------------------------


def test_long_text_keeps_head_and_tail_and_counts_what_is_between():
    text = "".join(f"{n}\n" for n in range(20_000))
    head, omitted, tail = collect(*(out(text[at : at + 1000]) for at in range(0, len(text), 1000)), text_limit=10_000)
    assert isinstance(omitted, OmittedOutput)
    assert text.startswith(head.text) and text.endswith(tail.text)
    assert len(head.text) + omitted.size + len(tail.text) == len(text)
    assert len(head.text) + len(tail.text) <= 10_000


def test_text_that_just_fits_is_one_item():
    text = "".join(f"{n}\n" for n in range(1_000))
    assert texts(collect(*(out(text[at : at + 7]) for at in range(0, len(text), 7)), text_limit=len(text) + 1000)) == [text]


def test_once_the_head_is_full_telling_stops():
    collector = Collector(text_limit=10_000)
    told = sum(len(op.model_dump_json()) for n in range(20_000) for op in collector.feed(out(f"{n}\n")))
    assert told < 300_000
    collector = Collector(text_limit=10_000)
    collector.feed(out("x" * 10_000))
    assert collector.feed(out("y")) == []


def test_displays_after_long_text_stay_in_their_place():
    outputs = collect(
        out("a" * 9_000), Display(data={"text/plain": "1"}), out("b" * 9_000), Display(data={"text/plain": "2"}), out("c"),
        text_limit=10_000,
    )  # fmt: skip
    kinds = [o.kind for o in outputs]
    assert kinds == ["text", "omitted", "rich", "text", "rich", "text"]
    assert outputs[-1].text == "c" and outputs[1].size + sum(len(o.text) for o in outputs if o.kind == "text") == 18_001


def test_too_many_or_too_big_displays_are_counted():
    outputs = collect(*(Display(data={"text/plain": "x" * 10}) for _ in range(10_000)))
    assert len(outputs) == 201 and outputs[-1].size > 98_000
    outputs = collect(Display(data={"image/png": "x" * 50_000_000}), Display(data={"text/plain": "ok"}))
    assert [o.kind for o in outputs] == ["omitted", "rich"] and outputs[0].size > 50_000_000


def test_an_update_that_is_too_big_is_left_out_and_a_later_one_returns():
    big, small = {"image/png": "x" * 2_000}, {"text/plain": "2"}
    first = Display(data={"text/plain": "1"}, display_id="d")
    assert collect(first, Display(data=big, display_id="d", update=True), rich_limit=1_000)[0].kind == "omitted"
    outputs = collect(
        first, Display(data=big, display_id="d", update=True), Display(data=small, display_id="d", update=True),
        rich_limit=1_000,
    )  # fmt: skip
    assert outputs[0].data == small


def test_what_the_executor_left_out_is_shown_in_its_place():
    outputs = collect(out("a"), out("b", gap=100), out("", gap=10), out("c", gap=1))
    assert [getattr(o, "text", getattr(o, "size", None)) for o in outputs] == ["a", 100, "b", 11, "c"]


def test_a_gap_after_the_head_begins_the_tail_anew():
    outputs = collect(out("a" * 9_000), out("b" * 10), out("c", gap=100), text_limit=10_000)
    assert [getattr(o, "text", None) for o in outputs] == ["a" * (5_000 - 64), None, "c"]
    assert outputs[1].size == 9_000 - (5_000 - 64) + 10 + 100


EVENTS = st.one_of(
    st.builds(out, st.sampled_from(["a", "ab\n", "\rx", "\n", "", "\x1b[A", "é" * 30, "z" * 300, "\x1b["]),
              st.sampled_from(["stdout", "stderr"]), st.booleans(), st.sampled_from([0, 0, 0, 7])),
    st.builds(lambda n, i, u: Display(data={"text/plain": "d" * n}, display_id=i, update=u),
              st.integers(0, 200), st.sampled_from([None, "a", "b"]), st.booleans()),
    st.builds(Clear, wait=st.booleans()),
    st.just(Raised(ename="E", evalue="v", traceback=["t"])),
)  # fmt: skip


@settings(max_examples=1_500, deadline=None)
@given(st.lists(EVENTS, max_size=30))
def test_told_changes_add_up_to_the_outputs(events):
    outputs = collect(*events, text_limit=1_000, rich_limit=500)
    assert sum(len(o.text) for o in outputs if o.kind == "text") <= 1_000
    for one, other in pairwise(outputs):
        assert one.kind != "text" or other.kind != "text" or (one.name, one.late) != (other.name, other.late)


OPS = st.one_of(
    st.builds(lambda i, t: Put(index=i, output=TextOutput(name="stdout", text=t, late=False)),
              st.integers(0, 3), st.text(max_size=4)),
    st.builds(lambda i: Put(index=i, output=OmittedOutput(size=i)), st.integers(0, 3)),
    st.builds(lambda i, a, t: Write(index=i, at=a, text=t), st.integers(0, 3), st.integers(0, 6), st.text(max_size=4)),
    st.just(Wipe()),
)  # fmt: skip


@settings(max_examples=800, deadline=None)
@given(st.lists(OPS, max_size=20), st.lists(OPS, max_size=8))
def test_merging_changes_nothing_but_their_number(ops, before):
    start = apply_ops([], before)
    legal, outputs = [], start
    for op in ops:  # only such as fit
        fits = isinstance(op, Wipe) or (
            op.index <= len(outputs)
            if isinstance(op, Put)
            else op.index < len(outputs)
            and isinstance(outputs[op.index], TextOutput)
            and op.at <= len(outputs[op.index].text)
        )
        if fits:
            legal.append(op)
            outputs = apply_ops(outputs, [op])
    merged = merge(legal)
    assert apply_ops(start, merged) == outputs
    indexes = [op.index for op in merged if not isinstance(op, Wipe)]
    assert len(indexes) == len(set(indexes))


# ---- cost ------------------------------------------------------------------------------------------------------------


def cpu(work) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def test_two_hundred_thousand_prints_are_taken_in_linear_time():
    def prints(count):
        collector = Collector()
        for n in range(count):
            collector.feed(out(f"line {n}\n"))
        collector.finish()

    assert cpu(lambda: prints(200_000)) < 10


@pytest.mark.parametrize("end", ["", "\r", "\n"])
def test_a_fifty_megabyte_line_is_taken_in_pieces_and_bounded(end):
    collector = Collector()

    def line():
        for _ in range(500):
            collector.feed(out("x" * 100_000 + end))
        collector.finish()

    assert cpu(line) < 10
    assert sum(len(o.text) for o in collector.outputs if o.kind == "text") <= 256_000


def test_merging_many_small_writes_is_linear():
    collector = Collector(text_limit=10_000_000)
    ops = [op for n in range(50_000) for op in collector.feed(out(f"line {n}\n"))]
    assert cpu(lambda: merge(ops)) < 2
    assert len(merge(ops)) == 1
