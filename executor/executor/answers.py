"""A kernel's answers about itself, as our values. Pure.

They come from a process that the tenant controls, like all its messages: sizes, types and text are checked here, once.
What does not fit makes the whole answer worthless (`None`), for a list of half its entries would be a lie of our own.
"""

from __future__ import annotations

from typing import Any

from executor.jupyter import Message
from executor.wire_services import Answer, Completions, Inspection, Variable, Variables

MAX_BYTES = 1024**2  # of one answer; ours have half of that at most
MAX_VARIABLES = 500
MAX_MATCHES = 300
MAX_NAME = 120
MAX_PREVIEW = 1200
MAX_PART = 20_000
MAX_DIMENSIONS = 64
MAX_NUMBER = 2**63


class _Wrong(Exception):
    """A field is not what it must be."""


def _number(value: object, most: int = MAX_NUMBER) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise _Wrong
    return value


def _optional(value: object) -> int | None:
    return None if value is None else _number(value)


def _line(value: object, most: int = MAX_NAME) -> str:
    """Text on one line, without anything invisible."""
    if not isinstance(value, str) or len(value) > most:
        raise _Wrong
    return value if value.isprintable() else "".join(char if char.isprintable() else "\ufffd" for char in value)


def _lines(value: object, most: int = MAX_PART) -> str:
    """Text of several lines, without anything else invisible."""
    if not isinstance(value, str) or len(value) > most:
        raise _Wrong
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in value)


def _list(value: object, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise _Wrong
    return value


def _dict(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Wrong
    return value


def variables(message: Message) -> Variables:
    try:
        content = _content(message, "variables_reply")
        told = tuple(_variable(_dict(raw)) for raw in _list(content.get("variables"), MAX_VARIABLES))
        return Variables(state=Answer.OK, variables=told, left_out=_number(content.get("left_out")))
    except _Wrong:
        return Variables(state=Answer.GARBLED)


def _variable(raw: dict[str, Any]) -> Variable:
    shape = raw.get("shape")
    return Variable(
        name=_line(raw.get("name")),
        type=_line(raw.get("type")),
        shape=None if shape is None else tuple(_number(side) for side in _list(shape, MAX_DIMENSIONS)),
        size=_optional(raw.get("size")),
        preview=_line(raw.get("preview"), MAX_PREVIEW),
    )


def completions(message: Message, window: int, shift: int) -> Completions:
    """`window`: characters of code that were asked about, which were preceded by `shift` others."""
    try:
        content = _content(message, "complete_reply")
        start, end = (_number(content.get(name), window) for name in ("cursor_start", "cursor_end"))
        if start > end:
            raise _Wrong
        matches = tuple(_line(match) for match in _list(content.get("matches"), MAX_MATCHES))
    except _Wrong:
        return Completions(state=Answer.GARBLED)
    return Completions(state=Answer.OK, matches=matches, start=start + shift, end=end + shift)


def inspection(message: Message) -> Inspection:
    try:
        content = _content(message, "inspect_reply")
        if content.get("found") is not True:
            return Inspection(state=Answer.OK)
        parts = _dict(content.get("parts"))
        return Inspection(
            state=Answer.OK,
            found=True,
            type=_line(parts.get("type")),
            signature=_line(parts.get("signature"), MAX_PREVIEW),
            value=_line(parts.get("value"), MAX_PREVIEW),
            doc=_lines(parts.get("doc")),
            source=_lines(parts.get("source")),
        )
    except _Wrong:
        return Inspection(state=Answer.GARBLED)


def _content(message: Message, kind: str) -> dict[str, Any]:
    if message.kind != kind or message.size > MAX_BYTES or message.left_out:
        raise _Wrong
    return message.content
