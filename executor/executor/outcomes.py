"""How a cell ended: from what the kernel and the sandbox's counters show, to one word that is counted. Pure."""

from __future__ import annotations

from typing import Any, assert_never

from executor.cell import Ending
from executor.wire import Closed, Outcome, Rung

STDIN_DENIED = "StdinNotImplementedError"


def replied(reply: dict[str, Any]) -> tuple[Outcome, str]:
    """The outcome of a cell that came to its end, and the class of what it raised (empty when nothing)."""
    ename = reply.get("ename")
    name = ename[:200] if isinstance(ename, str) else ""
    match reply.get("status", "ok"):
        case "ok":
            return Outcome.OK, ""
        case "aborted" | "abort":
            return Outcome.INTERRUPTED, ""
        case _ if name.endswith("MemoryError"):
            return Outcome.OUT_OF_MEMORY, name
    return Outcome.ERROR, name


def died(ending: Ending, burst: bool) -> Outcome:
    """The outcome of a cell that nobody stopped, and that never came to its end. `burst`: memory has run out meanwhile."""
    if burst:
        return Outcome.OUT_OF_MEMORY
    return Outcome.KERNEL_DIED if ending is Ending.DIED else Outcome.SANDBOX_LOST


def taxonomy(closed: Closed) -> str:
    """One of: ok, output_truncated, error, stdin_denied, interrupted, aborted (stopped before it ran), timeout_state_kept,
    timeout_state_lost, oom_state_kept, oom_state_lost, kernel_died, sandbox_lost, capacity."""
    state = "state_kept" if closed.variables_kept else "state_lost"
    match closed.outcome:
        case Outcome.OK:
            return "output_truncated" if closed.dropped_bytes else "ok"
        case Outcome.ERROR:
            return "stdin_denied" if closed.raised == STDIN_DENIED else "error"
        case Outcome.INTERRUPTED:
            return "interrupted" if closed.ran else "aborted"
        case Outcome.TIMED_OUT:
            return f"timeout_{state}"
        case Outcome.OUT_OF_MEMORY:
            return f"oom_{state}"
        case Outcome.KERNEL_DIED:
            return "kernel_died"
        case Outcome.SANDBOX_LOST:
            return "sandbox_lost"
        case Outcome.UNAVAILABLE:
            return "capacity"
    assert_never(closed.outcome)


def forced(rung: Rung) -> bool:
    """Whether the variables had to go."""
    return rung in (Rung.RESTART, Rung.KILL)
