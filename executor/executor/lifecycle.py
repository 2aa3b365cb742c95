"""What can happen to one conversation's sandbox, as a table. Pure.

none ──claim──► starting ──ready──► idle ──run──► busy ──done──► idle
                   │                 │             │
                   └──gone──► none ◄─┴────gone─────┘        died / restart: ──► restarting ──ready──► idle
"""

from __future__ import annotations

from enum import StrEnum

from executor.wire import KernelState as State


class Step(StrEnum):
    CLAIM = "claim"  # somebody needs a sandbox
    READY = "ready"  # the kernel answers
    RUN = "run"  # a cell is handed over
    DONE = "done"  # the cell has ended and the kernel lives
    DIED = "died"  # the kernel's process ended, or is being replaced; the sandbox lives
    GONE = "gone"  # there is no sandbox any more


class IllegalStep(RuntimeError):
    """A step that its state does not allow: a mistake in this package. Nothing was changed."""


TABLE: dict[tuple[State, Step], State] = {
    (State.NONE, Step.CLAIM): State.STARTING,
    (State.STARTING, Step.READY): State.IDLE,
    (State.IDLE, Step.RUN): State.BUSY,
    (State.BUSY, Step.DONE): State.IDLE,
    (State.IDLE, Step.DIED): State.RESTARTING,
    (State.BUSY, Step.DIED): State.RESTARTING,
    (State.RESTARTING, Step.DIED): State.RESTARTING,
    (State.RESTARTING, Step.READY): State.IDLE,
    **{(state, Step.GONE): State.NONE for state in State},
}


def after(state: State, step: Step) -> State:
    try:
        return TABLE[state, step]
    except KeyError:
        raise IllegalStep(f"{step} in state {state}") from None
