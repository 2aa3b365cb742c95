"""One line about a value, its length and its size. Of built-in types only, and never more of them than the line shows: what
the tenant's own classes say about themselves is not asked."""

from __future__ import annotations

import datetime
import sys
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Any

from static import is_static, name_of

LINE = 120  # characters of a preview
ITEMS = 6  # of a container that are shown
DEPTH = 2  # containers inside one another that are shown
MAX_BITS = 256  # of an integer that is written out
SAMPLED = 64  # items of a container by which its size is judged

BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
    deque: ("deque([", "])"),
}
SIZED: tuple[type, ...] = (str, bytes, bytearray, dict, range, memoryview, *BRACKETS)
PLAIN: tuple[type, ...] = (bool, type(None), float, complex, range, datetime.date, datetime.timedelta, type(...))


def preview(value: object) -> str:
    """At most LINE characters; empty when there is nothing to be said without asking the value."""
    line = show(value, DEPTH) if is_static(type(value)) else ""
    line = "" if line == f"<{name_of(type(value))}>" else line
    return line if len(line) <= LINE else f"{line[: LINE - 1]}…"


def show(value: object, depth: int = 0) -> str:
    """A value inside another one: what is no built-in is told by its type."""
    kind = type(value)
    if not is_static(kind):  # before it is compared or looked up: that asks its metaclass
        return f"<{name_of(kind)}>"
    if kind in (str, bytes, bytearray):
        return _quoted(value)
    if kind is int:
        return repr(value) if int.bit_length(value) <= MAX_BITS else f"<int of {int.bit_length(value)} bits>"  # type: ignore[arg-type]
    if kind in PLAIN or (kind in (datetime.datetime, datetime.time) and _zone_is_known(value)):
        return str(value) if kind in (datetime.datetime, datetime.date, datetime.time, datetime.timedelta) else repr(value)
    if kind is dict or kind in BRACKETS:
        return _contents(value, depth)
    if kind is type:
        return f"<class {name_of(value)}>"  # type: ignore[arg-type]
    return f"<{name_of(kind)}>"


def _zone_is_known(moment: Any) -> bool:
    return moment.tzinfo is None or type(moment.tzinfo) is datetime.timezone


def _quoted(value: Any) -> str:
    head = value[:LINE]
    return repr(head) if len(value) <= LINE else f"{repr(head)[:-1]}…"


def _contents(value: Any, depth: int) -> str:
    opening, closing = BRACKETS.get(type(value), ("{", "}"))
    if depth == 0:
        return f"{opening}…{closing}"
    if type(value) is dict:
        shown = [f"{show(key, depth - 1)}: {show(item, depth - 1)}" for key, item in first(dict.items(value), ITEMS)]
    else:
        shown = [show(item, depth - 1) for item in first(value, ITEMS)]
    more = ["…"] if len(value) > len(shown) else []
    comma = "," if type(value) is tuple and len(value) == 1 else ""
    return f"{opening}{', '.join(shown + more)}{comma}{closing}"


def first(items: Iterable[Any], count: int) -> list[Any]:
    """The first items; none of a container that changes this very moment in another thread."""
    try:
        return list(islice(iter(items), count))
    except RuntimeError:
        return []


def length(value: Any) -> int | None:
    kind = type(value)
    return len(value) if is_static(kind) and kind in SIZED else None


def size(value: Any) -> int | None:
    """About how many bytes a built-in value takes, with what is directly in it; None for other types."""
    kind = type(value)
    if not is_static(kind) or (kind is not int and kind not in SIZED and kind not in PLAIN):
        return None
    shallow = sys.getsizeof(value)
    if kind is dict:
        sample = first(dict.items(value), SAMPLED)
        inside = sum(_shallow(key) + _shallow(item) for key, item in sample)
    elif kind in BRACKETS:
        sample = first(value, SAMPLED)
        inside = sum(map(_shallow, sample))
    else:
        return shallow
    return shallow + (inside * len(value) // len(sample) if sample else 0)


def _shallow(value: object) -> int:
    return sys.getsizeof(value) if is_static(type(value)) else 0
