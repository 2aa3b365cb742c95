"""Paths and ranges: pure text and arithmetic, tried with everything hypothesis can think of."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.storage.errors import BadPath
from executor.storage.names import MOST_PARTS, entry, join, normal, parse
from executor.storage.ranges import Span, Unsatisfiable, wanted

HOSTILE = [
    *("/", "/etc/passwd", "//x", "..", "../x", "a/../b", "a/..", ".", "./a", "a//b", "a/", "a/./b"),
    *("a\0b", "a\nb", "a\rb", "a\tb", "a\x1b[31mb", "\u202egnp.exe", "a\u200bb", "\ud800", "a/\ufeffb", "a\x7f"),
    *(".incoming", ".incoming/x", "x" * 256, "ü" * 128, "/".join(["d"] * (MOST_PARTS + 1)), "a/" * 2**16 + "a"),
]
ORDINARY = [
    *("a", "a/b.csv", "a b/ü.txt", "...", "..a", "-rf", "~", "$(id)", "a\\b", "C:", "NUL", "CON.txt", "dev/null", "日本"),
    *("proc/self/fd/0", "a/.incoming", "/".join(["d"] * MOST_PARTS), "x" * 255),
]


@pytest.mark.parametrize("text", HOSTILE)
def test_t7_a_path_that_leads_elsewhere_or_cannot_be_printed_is_refused(text):
    with pytest.raises(BadPath) as refused:
        entry(text)
    assert refused.value.words.isprintable()


@pytest.mark.parametrize("text", ORDINARY)
def test_an_ordinary_path_has_one_spelling(text):
    assert join(parse(text)) == text
    assert join(entry(text)) == text


def test_the_empty_path_is_the_workspace_itself():
    assert parse("") == ()
    with pytest.raises(BadPath):
        entry("")


@given(st.one_of(st.text(max_size=40), st.lists(st.sampled_from(["..", ".", "", "a", "\0", "b\n", "c"])).map("/".join)))
def test_t7_what_is_accepted_stays_inside_whatever_it_is(text):
    try:
        parts = parse(text)
    except BadPath:
        return
    assert os.path.normpath("/w/" + text).removeprefix("/w") in ("", "/" + text)
    assert join(parts) == text and not any(part in ("", ".", "..") for part in parts)


@given(st.text(max_size=30))
def test_the_usual_spelling_is_final(text):
    assert normal(normal(text)) == normal(text)


def test_foreign_spellings_come_out_as_the_usual_one():
    assert normal("Bu\u0308cher 1\u202f2\u00a03.txt") == "Bücher 1 2 3.txt"


@pytest.mark.parametrize(
    ("header", "size", "start", "end"),
    [
        ("bytes=0-0", 5, 0, 1),
        ("bytes=1-", 5, 1, 5),
        ("bytes=-2", 5, 3, 5),
        ("bytes=-9", 5, 0, 5),
        ("Bytes = 2-99", 5, 2, 5),
    ],
)
def test_a_range_is_cut_to_the_file(header, size, start, end):
    assert wanted(header, size) == (Span(start, end, size), True)


@pytest.mark.parametrize(
    "header", [None, "", "bytes", "bytes=", "bytes=-", "bytes=2-1", "bytes=0-1,3-4", "lines=1-2", "bytes=a-b"]
)
def test_what_is_no_single_range_is_ignored(header):
    assert wanted(header, 5) == (Span(0, 5, 5), False)


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=5-", 5), ("bytes=9-12", 5), ("bytes=-0", 5), ("bytes=0-", 0), ("bytes=-1", 0)]
)
def test_a_range_behind_the_end_is_refused(header, size):
    with pytest.raises(Unsatisfiable):
        wanted(header, size)


@given(st.integers(0, 2**62), st.integers(0, 2**59), st.integers(0, 2**59))
def test_ranges_agree_with_slices(size, first, last):
    size %= 1000
    first, last, whole = first % 1100, last % 1100, bytes(size)
    for header, expected in (
        (f"bytes={first}-{last}", whole[first : last + 1]),
        (f"bytes=-{last}", whole[-last:] if last else b""),
    ):
        try:
            span, partial = wanted(header, size)
        except Unsatisfiable:
            assert expected == b""
            continue
        assert 0 <= span.start <= span.end <= size
        assert len(whole[span.start : span.end]) == span.length
        if partial:
            assert span.length == len(expected) and span.start == (first if "=-" not in header else size - span.length)


@given(st.text(max_size=30))
def test_no_header_breaks_the_arithmetic(text):
    for header in (text, "bytes=" + text):
        try:
            span, _ = wanted(header, 10)
        except Unsatisfiable:
            continue
        assert 0 <= span.start < span.end <= 10
