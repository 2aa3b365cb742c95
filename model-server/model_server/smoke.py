"""`python -m model_server smoke URL`: whether a model server does what CodeAct needs, tried with real requests.

Every check is one row: on, off or unknown, and why. Unknown is what this kind of server does not let anybody see; off makes
the exit status 1.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from model_server import smoke_checks as checks
from model_server.probe import Probe, Unreachable

State = Literal["on", "off", "unknown"]
WIDTH = 14


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    state: State
    why: str


CHECKS: tuple[tuple[str, Callable[[Probe], Awaitable[str]]], ...] = (
    ("key", checks.key),
    ("answer", checks.answer),
    ("streaming", checks.streaming),
    ("usage", checks.usage),
    ("stop strings", checks.stop_strings),
    ("chat template", checks.chat_template),
    ("prefix cache", checks.prefix_cache),
    ("abort", checks.abort),
)


async def smoke(url: str, key: str, model: str = "") -> int:
    """Prints the table. 0: nothing is off; 1: something is; 2: there is no model server to try."""
    try:
        rows = await tried(url, key, model)
    except Unreachable as error:
        print(error, file=sys.stderr)
        return 2
    for row in rows:
        print(f"{row.name:<{WIDTH}} {row.state:<8} {row.why}")
    return 1 if any(row.state == "off" for row in rows) else 0


async def tried(url: str, key: str, model: str = "") -> list[Row]:
    """Raises Unreachable where not even the models can be listed."""
    async with Probe(url, key) as probe:
        await probe.discover(model)
        rows = [Row("model", "on", probe.words)]
        return rows + [await row_of(name, check, probe) for name, check in CHECKS]


async def row_of(name: str, check: Callable[[Probe], Awaitable[str]], probe: Probe) -> Row:
    """One check, whatever becomes of it."""
    try:
        return Row(name, "on", await check(probe))
    except checks.Off as off:
        return Row(name, "off", str(off))
    except checks.Unknown as unknown:
        return Row(name, "unknown", str(unknown))
    except Unreachable as error:
        return Row(name, "off", str(error))
