"""What a conversation has made so far: the names of its namespace, each with type, length, size and a glance.

Runs beside the cell that may be running, in the thread that answers control messages. It touches nothing: not `_`, `In`,
`Out`, not the count of cells; and it runs none of the tenant's code (`static`).
"""

from __future__ import annotations

import time
from itertools import islice
from typing import Any

from previews import length, preview, size
from static import name_of
from tables import facts

MOST = 500  # variables that are told: the last to be made
NAME = 100  # characters of a name
BOX_S = 0.5  # after that no further variable is looked at
TRIES = 5

Namespace = dict[str, Any]


def listed(namespace: Namespace, hidden: Namespace) -> dict[str, Any]:
    """The answer: `variables`, the oldest first, and how many were left out. `hidden` is what IPython put there."""
    began = time.monotonic()
    named = [(name, value) for name, value in items(namespace) if _is_the_tenants(name, value, hidden)]
    told: list[dict[str, Any]] = []
    for name, value in reversed(named):
        if len(told) >= MOST or time.monotonic() - began > BOX_S:
            break
        told.append(about(name, value))
    return {"status": "ok", "variables": told[::-1], "left_out": len(named) - len(told)}


def items(namespace: Namespace) -> list[tuple[Any, Any]]:
    """All of a dictionary, as of one moment: a cell in another thread may be changing it."""
    for _ in range(TRIES):
        try:
            return list(islice(dict.items(namespace), None))
        except RuntimeError:
            continue
    return []


def _is_the_tenants(name: object, value: object, hidden: Namespace) -> bool:
    """As %who sees it."""
    return type(name) is str and not name.startswith("_") and hidden.get(name, hidden) is not value


def about(name: str, value: object) -> dict[str, Any]:
    """One variable, as the wire has it."""
    found = {"name": printable(name), "type": name_of(type(value)), "shape": None, "size": None, "preview": ""}
    known = facts(value)
    if known is not None:
        return found | {"shape": known.shape, "size": known.size, "preview": printable(known.preview, 1000)}
    try:
        many = length(value)
        return found | {"shape": None if many is None else [many], "size": size(value), "preview": preview(value)}
    except Exception:  # such as: it changed while it was looked at
        return found


def printable(text: str, most: int = NAME) -> str:
    """Without what moves a cursor, hides or turns text around."""
    text = text if len(text) <= most else f"{text[: most - 1]}…"
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)
