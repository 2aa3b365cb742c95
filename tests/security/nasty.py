"""Values that have hurt servers before, and where in a body they can stand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

NASTY: tuple[Any, ...] = (
    "\x00", "a\x00b", "\ud800", "\udc00x", "\u202e", "", " ", "a" * 70_000, "../../etc/passwd", "%00", "' OR 1=1 --",
    "{{7*7}}", "\r\nSet-Cookie: a=b", 2**31, 2**53, 2**63, 2**64, -(2**63) - 1, 10**400, -1, 0, 0.5, 1e308, float("nan"),
    float("inf"), True, None, [], {}, [[[[[]]]]], {"$ne": ""},
)  # fmt: skip

NASTY_IN_ADDRESSES = (
    "%00", "a%00b", "%ED%A0%80", "%FF", "%0d%0aX:%20y", "%2e%2e%2f%2e%2e", "a" * 5000, "%2f", "é", "9" * 400,
)  # fmt: skip

NOT_JSON = ("", "{", "nul", "[" * 50_000, '{"a":' * 10_000, '"\\ud800"', "1e999", "9" * 60_000, "\x00")
"""Nor any body that is asked for."""

NASTY_HEADERS = (
    "a" * 7000, "é\xff", "Bearer ", "Bearer cat_" + "\xff" * 100, 'codeact_login="\\377"', "codeact_login=;;;=", ",",
)  # fmt: skip


def replaced(body: Any) -> Iterator[Any]:
    """`body` with each of its values in turn, itself and the names of its fields too, replaced by each nasty one."""
    yield from NASTY
    if isinstance(body, dict):
        for name, value in body.items():
            for other in replaced(value):
                yield {**body, name: other}
        yield {**body, "\x00": 1}
    elif isinstance(body, list):
        for at, value in enumerate(body):
            for other in replaced(value):
                yield [*body[:at], other, *body[at + 1 :]]
