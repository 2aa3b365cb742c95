"""The decoders, through their public door: text in pieces in, pieces out."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.agent.actions import CodeClosed, CodeOpened, CodeText, Decoder, Fabricated, Piece, Prose
from orchestrator.agent.decoders.codeact import CodeActDecoder
from orchestrator.agent.decoders.fenced import FencedDecoder
from orchestrator.agent.decoders.tools import TOOL, ToolsDecoder
from orchestrator.agent.signals import Text, ToolCall

PREFIXES = ("Execution Output:", "Observation:")
REASONS = ["stop", "length", "tool_calls", None]


def codeact() -> Decoder:
    return CodeActDecoder(PREFIXES)


def fenced() -> Decoder:
    return FencedDecoder(PREFIXES)


def decode(decoder: Decoder, texts: Iterable[str], reason="stop") -> list[Piece]:
    pieces: list[Piece] = []
    for text in texts:
        if decoder.done:
            break
        pieces += decoder.feed(Text(text))
    if not decoder.done:
        pieces += decoder.flush(reason)
    return merged(pieces)


def call(decoder: Decoder, texts: Iterable[str], reason="tool_calls", name=TOOL) -> list[Piece]:
    pieces: list[Piece] = []
    for number, text in enumerate(texts):
        if decoder.done:
            break
        pieces += decoder.feed(ToolCall(0, "" if number else name, text))
    if not decoder.done:
        pieces += decoder.flush(reason)
    return merged(pieces)


def merged(pieces: Iterable[Piece]) -> list[Piece]:
    """Neighbouring prose and neighbouring code joined; empty ones must not occur."""
    result: list[Piece] = []
    for piece in pieces:
        last = result[-1] if result else None
        if isinstance(piece, Prose | CodeText):
            assert piece.text
        if isinstance(piece, Prose) and isinstance(last, Prose):
            result[-1] = Prose(last.text + piece.text)
        elif isinstance(piece, CodeText) and isinstance(last, CodeText):
            result[-1] = CodeText(last.text + piece.text)
        else:
            result.append(piece)
    return result


def written(pieces: Iterable[Piece]) -> str:
    """The characters that the pieces stand for."""
    text = ""
    for piece in pieces:
        match piece:
            case Prose(text=part) | CodeText(text=part) | CodeOpened(opening=part) | CodeClosed(closing=part):
                text += part
    return text


def code_of(pieces: Iterable[Piece]) -> str | None:
    """The code that would be run; None if none would."""
    if not any(isinstance(piece, CodeClosed) for piece in pieces):
        return None
    return "".join(piece.text for piece in pieces if isinstance(piece, CodeText))


FRAGMENTS = st.sampled_from(
    [
        "<execute>", "</execute>", "<exec", "ute>", "</", "</execu", "<", ">", "`", "``", "```", "````",
        "```python\n", "```py", "```\n", "```json\n", "```output\n", "python", "\n", "\n\n", "\r\n",
        " ", "   ", "    ", "\t", "\"", "'", "“",
        "x = 1", "print('é😀')",
        "Execution Output:", "Observation:", "Observ", "Execution", "~~~", "{}", "\0", " ", "́", "text",
        " " * 300, "\n" * 300, "`" * 250, "a" * 300,
    ]
)  # fmt: skip
MESSAGES = st.lists(FRAGMENTS | st.text(max_size=5), max_size=14).map("".join)


@st.composite
def cut(draw, text: str) -> list[str]:
    """The text in pieces of one to a few characters, or many."""
    marks = draw(st.lists(st.integers(0, len(text)), max_size=12).map(sorted))
    places = [0, *marks, len(text)]
    return [text[start:end] for start, end in pairwise(places)]


@pytest.mark.parametrize("make", [codeact, fenced])
@settings(max_examples=600, deadline=None)
@given(text=MESSAGES, reason=st.sampled_from(REASONS), data=st.data())
def test_cutting_a_message_differently_gives_the_same_pieces(make, text, reason, data):
    whole = decode(make(), [text], reason)
    assert decode(make(), text, reason) == whole
    assert decode(make(), data.draw(cut(text)), reason) == whole


@pytest.mark.parametrize("make", [codeact, fenced])
@settings(max_examples=600, deadline=None)
@given(text=MESSAGES, reason=st.sampled_from(REASONS))
def test_the_pieces_are_exactly_what_the_model_wrote(make, text, reason):
    pieces = decode(make(), [text], reason)
    out = written(pieces)
    if isinstance(pieces[-1] if pieces else None, Fabricated):
        assert text.startswith(out)
        assert text[len(out) :].lstrip().startswith((*PREFIXES, "```"))
    elif isinstance(pieces[-1] if pieces else None, CodeClosed):
        # either it is all there, or a closing that the server stripped was put back
        assert text.startswith(out) or (out.startswith(text) and reason in ("stop", "tool_calls")), out
    else:
        assert out == text


@pytest.mark.parametrize("make", [codeact, fenced])
@settings(max_examples=400, deadline=None)
@given(text=MESSAGES, reason=st.sampled_from(REASONS))
def test_pieces_come_in_their_order_and_end_where_they_say(make, text, reason):
    names = "".join(type(piece).__name__[0:5] + " " for piece in decode(make(), text, reason))
    forms = ("", "Prose ")
    ends = ("", "Fabri ", "CodeO ", "CodeO CodeT ", "CodeO CodeC ", "CodeO CodeT CodeC ")
    assert names in {a + b for a in forms for b in ends}
    if reason in ("length", None) and "CodeC" in names:
        decoder = make()
        decode(decoder, text, reason)
        assert decoder.done


@pytest.mark.parametrize("make", [codeact, fenced])
def test_nothing_is_said_after_the_end(make):
    decoder = make()
    decode(decoder, ["```python\n1\n```\n<execute>2</execute>\n"])
    assert decoder.done
    assert decoder.feed(Text("more ```python\n<execute>3</execute>")) == []
    assert decoder.flush("stop") == []


# ---- codeact ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("Just an answer.\n", [Prose("Just an answer.\n")]),
        ("Let me. <execute>print(1)</execute> after",
         [Prose("Let me. "), CodeOpened("<execute>"), CodeText("print(1)"), CodeClosed("</execute>")]),
        ("<execute>\nx = 1\nx\n</execute>", [CodeOpened("<execute>\n"), CodeText("x = 1\nx"), CodeClosed("\n</execute>")]),
        ("<execute> print(12*7) ", [CodeOpened("<execute> "), CodeText("print(12*7)"), CodeClosed(" </execute>")]),
        ("<execute>\n    if x:\n        y\n</execute>",
         [CodeOpened("<execute>\n"), CodeText("    if x:\n        y"), CodeClosed("\n</execute>")]),
        ("<execute>\n```python\nx\n```\n</execute>",
         [CodeOpened("<execute>\n```python\n"), CodeText("x"), CodeClosed("\n```\n</execute>")]),
        ("<execute>\n```\nx\n```\n", [CodeOpened("<execute>\n```\n"), CodeText("x"), CodeClosed("\n```\n</execute>")]),
        ("<execute>```py\nx\n```</execute>",
         [CodeOpened("<execute>```py\n"), CodeText("x"), CodeClosed("\n```</execute>")]),
        ("<execute>x = '''\n```\n'''</execute>",
         [CodeOpened("<execute>"), CodeText("x = '''\n```\n'''"), CodeClosed("</execute>")]),
        ("<execute></execute>", [CodeOpened("<execute>"), CodeClosed("</execute>")]),
        ("<execute>\n \n</execute>", [CodeOpened("<execute>\n \n"), CodeClosed("</execute>")]),
        ("<execute>1</execute><execute>2</execute>", [CodeOpened("<execute>"), CodeText("1"), CodeClosed("</execute>")]),
        ("```python\n<execute>\n1\n</execute>\n```",
         [Prose("```python\n"), CodeOpened("<execute>\n"), CodeText("1"), CodeClosed("\n</execute>")]),
        ("Use `<execute>` and `</execute>` tags.", [Prose("Use `<execute>` and `</execute>` tags.")]),
        ('The tag "<execute>" opens code.', [Prose('The tag "<execute>" opens code.')]),
        ("Use ``a ` <execute>`` here", [Prose("Use ``a ` <execute>`` here")]),
        ("`x` then <execute>1</execute>",
         [Prose("`x` then "), CodeOpened("<execute>"), CodeText("1"), CodeClosed("</execute>")]),
        ("a lone ` here\n<execute>1</execute>",
         [Prose("a lone ` here\n"), CodeOpened("<execute>"), CodeText("1"), CodeClosed("</execute>")]),
        ("if a<execute and b", [Prose("if a<execute and b")]),
        ("It is done.\n\nExecution Output:\n42\n", [Prose("It is done."), Fabricated()]),
        ("Observation: 42", [Fabricated()]),
        ("My Observation: fine", [Prose("My Observation: fine")]),
    ],
)  # fmt: skip
def test_codeact_reads(text, pieces):
    assert decode(codeact(), [text]) == pieces
    assert decode(codeact(), text) == pieces


@pytest.mark.parametrize("tail", ["", "<", "</", "</execute", "\n", "\n</exec"])
def test_a_closing_tag_that_the_server_stripped_is_put_back(tail):
    pieces = decode(codeact(), "<execute>\nprint(1)" + tail, "stop")
    assert code_of(pieces) == "print(1)"
    assert written(pieces) == "<execute>\nprint(1)" + tail.split("<")[0] + "</execute>"


@pytest.mark.parametrize("reason", ["length", None])
@pytest.mark.parametrize("make", [codeact, fenced])
@pytest.mark.parametrize(
    "text", ["<execute>\nprint(1)", "<execute>print(1)\n</exec", "```python\nprint(1)", "```python\nx\n```"]
)
def test_code_that_was_cut_off_never_closes(make, text, reason):
    pieces = decode(make(), text, reason)
    assert code_of(pieces) is None
    assert written(pieces) == text


def test_prose_is_told_as_soon_as_it_cannot_be_a_tag():
    decoder = codeact()
    assert decoder.feed(Text("Hello <exe")) == [Prose("Hello")]
    assert decoder.feed(Text("mpt>!")) == [Prose(" <exempt>!")]


def test_code_is_told_while_it_is_written():
    decoder = codeact()
    assert decoder.feed(Text("<execute>x = 1\n")) == [CodeOpened("<execute>"), CodeText("x = 1")]
    assert decoder.feed(Text("y")) == [CodeText("\ny")]


# ---- fenced ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("First:\n```python\nx = 1\n```\nThen",
         [Prose("First:\n"), CodeOpened("```python\n"), CodeText("x = 1"), CodeClosed("\n```")]),
        ("```py\n1\n```", [CodeOpened("```py\n"), CodeText("1"), CodeClosed("\n```")]),
        ("  ```Python3 title=a\n1\n  ```  \n",
         [CodeOpened("  ```Python3 title=a\n"), CodeText("1"), CodeClosed("\n  ```  ")]),
        ("````python\na = '''\n```\n'''\n````\n",
         [CodeOpened("````python\n"), CodeText("a = '''\n```\n'''"), CodeClosed("\n````")]),
        ("```python\ns = '''\n```json\n'''\n```\n",
         [CodeOpened("```python\n"), CodeText("s = '''\n```json\n'''"), CodeClosed("\n```")]),
        ("```python\r\n1\r\n```\r\n", [CodeOpened("```python\r\n"), CodeText("1\r"), CodeClosed("\n```\r")]),
        ("```python\n```", [CodeOpened("```python\n"), CodeClosed("```")]),
        ("```python\n\n\n```\n", [CodeOpened("```python\n"), CodeText("\n"), CodeClosed("\n```")]),
        ("```json\n{}\n```\nok", [Prose("```json\n{}\n```\nok")]),
        ("```\n```python\nx\n```\n", [Prose("```\n```python\nx\n```\n")]),
        ("```json\n1\n```\n```python\n2\n```\n",
         [Prose("```json\n1\n```\n"), CodeOpened("```python\n"), CodeText("2"), CodeClosed("\n```")]),
        ("use ```python\nx", [Prose("use ```python\nx")]),
        ("    ```python\nx\n```", [Prose("    ```python\nx\n```")]),
        ("a `b` ``c``\n", [Prose("a `b` ``c``\n")]),
        ("It prints:\n```output\n42\n```", [Prose("It prints:"), Fabricated()]),
        ("Done.\nExecution Output:\n42", [Prose("Done."), Fabricated()]),
        ("```text\nExecution Output:\n42\n```", [Prose("```text\nExecution Output:\n42\n```")]),
        ("```python", [Prose("```python")]),
    ],
)  # fmt: skip
def test_fenced_reads(text, pieces):
    assert decode(fenced(), [text]) == pieces
    assert decode(fenced(), text) == pieces


@pytest.mark.parametrize(
    ("text", "out"),
    [
        ("```python\nprint(1)", "```python\nprint(1)\n```"),
        ("```python\nprint(1)\n", "```python\nprint(1)\n```"),
        ("```python\nprint(1)\n``", "```python\nprint(1)\n```"),
        ("````python\nprint(1)\n```", "````python\nprint(1)\n````"),
        ("```python\n", "```python\n```"),
    ],
)
def test_a_fence_that_was_left_open_is_closed(text, out):
    pieces = decode(fenced(), text, "stop")
    assert written(pieces) == out
    assert isinstance(pieces[-1], CodeClosed)


# ---- tools -----------------------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(
    code=st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | MESSAGES,
    ascii_only=st.booleans(),
    spaces=st.booleans(),
    data=st.data(),
)
@example(code='😀"\\\n\t/é', ascii_only=True, spaces=False, data=None)
def test_arguments_are_decoded_while_they_stream(code, ascii_only, spaces, data):
    arguments = json.dumps({"code": code}, ensure_ascii=ascii_only, indent=1 if spaces else None)
    for parts in ([arguments], list(arguments), data.draw(cut(arguments)) if data else [arguments]):
        pieces = call(ToolsDecoder(), parts)
        assert code_of(pieces) == code
        assert pieces[0] == CodeOpened("")


def test_text_before_a_call_is_prose():
    decoder = ToolsDecoder()
    assert decoder.feed(Text("Let me see. ")) == [Prose("Let me see. ")]
    assert decoder.feed(ToolCall(0, TOOL, '{"code": "1"}')) == [CodeOpened(""), CodeText("1"), CodeClosed("")]
    assert decoder.done


def test_only_the_first_call_counts():
    decoder = ToolsDecoder()
    decoder.feed(ToolCall(0, TOOL, '{"code": "a'))
    assert decoder.feed(ToolCall(1, TOOL, '{"code": "b"}')) == []
    assert decoder.feed(ToolCall(0, "", 'b"}')) == [CodeText("b"), CodeClosed("")]


def test_keys_before_the_code_are_skipped():
    assert code_of(call(ToolsDecoder(), '{"language": "py\\"thon", "timeout": 5, "code": "x"}')) == "x"


def test_lone_surrogates_become_replacement_characters():
    assert code_of(call(ToolsDecoder(), r'{"code": "\ud83dx\ude00\ud83d\ude00\ud83d"}')) == "�x�😀�"


@pytest.mark.parametrize(
    "arguments", ["print(1)", '{"code": "a\\q"}', '{"code": ["x"]}', "", "[]", '{"code": "abc', '{"cmd": "x"}', "x" * 5000]
)
def test_arguments_that_cannot_be_read_are_never_run_and_the_model_is_told_why(arguments):
    for parts in ([arguments], list(arguments) or [""]):
        decoder = ToolsDecoder()
        pieces = call(decoder, parts)
        assert code_of(pieces) is None
        assert isinstance(pieces[0], CodeOpened)
        assert "no code has run" in decoder.error


def test_a_call_of_another_tool_is_refused():
    decoder = ToolsDecoder()
    assert call(decoder, ['{"code": "1"}'], name="bash") == [CodeOpened("")]
    assert "bash" in decoder.error and TOOL in decoder.error


def test_a_call_cut_off_by_the_token_limit_is_no_error_of_the_model():
    decoder = ToolsDecoder()
    assert code_of(call(decoder, '{"code": "abc', reason="length")) is None
    assert decoder.error == ""


# ---- cost ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [codeact, fenced])
@pytest.mark.parametrize(
    "text",
    ["word " * 40_000, "\n" * 200_000, " " * 200_000, "`" * 200_000, "<" * 200_000, "```python\n" + "\n" * 200_000,
     "<execute>" + " " * 200_000, "<execute>" + "x\n" * 100_000, "```a" * 50_000],
    ids=["words", "newlines", "spaces", "backticks", "angles", "fenced-newlines", "tag-spaces", "code", "fences"],
)  # fmt: skip
def test_a_message_costs_no_more_than_its_length(make, text):
    started = time.process_time()
    pieces = decode(make(), (text[at : at + 4] for at in range(0, len(text), 4)))
    assert written(pieces).startswith(text)
    assert time.process_time() - started < 5
