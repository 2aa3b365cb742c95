"""What a gateway tells of its sandbox's use, checked. Pure."""

from __future__ import annotations

import math

from executor.sandbox.base import Usage


def counted(before: Usage, answer: object) -> Usage:
    """What a gateway says that its sandbox uses. It comes out of the tenant's own sandbox: what is no number counts for
    nothing, and what may only grow does so."""
    if not isinstance(answer, dict):
        return before

    def number(name: str, least: float | None = None) -> float | None:
        value = answer.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            return least
        return max(float(value), least or 0.0)

    def whole(name: str, least: int | None = None) -> int | None:
        value = number(name, least)
        return None if value is None else int(value)

    return Usage(
        memory=whole("memory"),
        pids=whole("pids"),
        oom_kills=whole("oom_kills", before.oom_kills),
        peak=whole("peak", before.peak),
        cpu_s=number("cpu_s", before.cpu_s),
    )
