"""One sandbox from the wish for it to its end, as a table. Pure.

requested ──grant──► creating ──made──► booting ──warmed──► warm
    └──────adopt──────────────────────────► │                │ claim
                                            └──ready──► leased: idle ──run──► busy ──done──► idle
                                                          died: restarting ──ready──► idle
alive ──drain──► draining (the cell that runs is its last)
alive ──kill──► killing ──end──► gone          alive ──gone──► lost (it ended by itself) ──kill──► killing

A warm sandbox is left exactly once, by a claim or by its end: no step leads back.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from executor.wire import KernelState


class State(StrEnum):
    REQUESTED = "requested"  # waits for room
    CREATING = "creating"  # the backend makes it
    BOOTING = "booting"  # the gateway answers, the kernel not yet
    WARM = "warm"  # ready, and nobody's
    IDLE = "leased_idle"
    BUSY = "leased_busy"
    RESTARTING = "leased_restarting"  # its kernel is being replaced
    DRAINING = "draining"  # a cell runs, after which it ends
    KILLING = "killing"
    GONE = "gone"
    LOST = "lost"  # ended without us, or out of reach


class Step(StrEnum):
    GRANT = "grant"  # there is room
    MADE = "made"  # the backend has made it
    ADOPT = "adopt"  # an earlier life of the executor made it
    WARMED = "warmed"  # the kernel answers, and nobody waits for it
    CLAIM = "claim"  # a conversation gets the warm sandbox
    READY = "ready"  # the kernel answers
    RUN = "run"  # a cell is handed over
    DONE = "done"  # the cell has ended and the kernel lives
    DIED = "died"  # the kernel's process ended, or is being replaced; the sandbox lives
    DRAIN = "drain"  # no cell after the one that runs
    KILL = "kill"
    END = "end"  # nothing is left of it
    GONE = "gone"  # it ended by itself, or answers no more


class Reason(StrEnum):
    """Why a sandbox came to its end."""

    RELEASED = "released"
    IDLE = "idle"
    MAX_LIFETIME = "max_lifetime"
    OOM_CONTAINER = "oom_container"
    KERNEL_CRASH_LOOP = "kernel_crash_loop"
    GATEWAY_DIED = "gateway_died"
    KILLED_BY_USER = "killed_by_user"
    EVICTED_CAPACITY = "evicted_capacity"
    IMAGE_RETIRED = "image_retired"
    SPEC_DRIFT = "spec_drift"
    HOST_LOST = "host_lost"
    CREATE_TIMEOUT = "create_timeout"
    POLICY_PROBE_FAILED = "policy_probe_failed"


class IllegalStep(RuntimeError):
    """A step that its state does not allow: a mistake in this package. Nothing was changed."""


LEASED = (State.IDLE, State.BUSY, State.RESTARTING, State.DRAINING)
ALIVE = (State.CREATING, State.BOOTING, State.WARM, *LEASED)
HOLDS_ROOM = (*ALIVE, State.KILLING)  # takes memory, and counts against what the host may have
OVER = (State.GONE, State.LOST)

TABLE: dict[tuple[State, Step], State] = {
    (State.REQUESTED, Step.GRANT): State.CREATING,
    (State.REQUESTED, Step.ADOPT): State.BOOTING,
    (State.CREATING, Step.MADE): State.BOOTING,
    (State.BOOTING, Step.WARMED): State.WARM,
    (State.BOOTING, Step.READY): State.IDLE,
    (State.WARM, Step.CLAIM): State.IDLE,
    (State.IDLE, Step.RUN): State.BUSY,
    (State.BUSY, Step.DONE): State.IDLE,
    (State.IDLE, Step.DIED): State.RESTARTING,
    (State.BUSY, Step.DIED): State.RESTARTING,
    (State.RESTARTING, Step.DIED): State.RESTARTING,
    (State.RESTARTING, Step.READY): State.IDLE,
    (State.DRAINING, Step.DONE): State.DRAINING,
    (State.DRAINING, Step.DIED): State.DRAINING,
    **{(state, Step.DRAIN): State.DRAINING for state in LEASED},
    **{(state, Step.GONE): State.LOST for state in ALIVE},
    **{(state, Step.KILL): State.KILLING for state in (*ALIVE, State.LOST)},
    (State.REQUESTED, Step.END): State.GONE,
    (State.KILLING, Step.END): State.GONE,
}

SEEN: dict[State, KernelState] = {
    **dict.fromkeys((State.REQUESTED, State.CREATING, State.BOOTING), KernelState.STARTING),
    State.IDLE: KernelState.IDLE,
    State.BUSY: KernelState.BUSY,
    State.DRAINING: KernelState.BUSY,
    State.RESTARTING: KernelState.RESTARTING,
    **dict.fromkeys((State.WARM, State.KILLING, State.GONE, State.LOST), KernelState.NONE),
}
"""What a conversation is told about the sandbox it has."""


def after(state: State, step: Step) -> State:
    try:
        return TABLE[state, step]
    except KeyError:
        raise IllegalStep(f"{step} in state {state}") from None


class Life:
    """The state of one sandbox. `told` hears of every change, with the state before. `reason` is the first one given."""

    def __init__(self, id: str, told: Callable[[Life, State], None], conversation: str = "", tenant: str = "") -> None:
        self.id = id
        self.conversation = conversation  # empty while it is nobody's
        self.tenant = tenant
        self.state = State.REQUESTED
        self.reason: Reason | None = None
        self.warm = False  # it was, before it was claimed
        self.adopted = False  # an earlier life of the executor made it
        self._told = told

    @property
    def seen(self) -> KernelState:
        return SEEN[self.state]

    @property
    def over(self) -> bool:
        return self.state in OVER

    def step(self, step: Step, reason: Reason | None = None) -> None:
        """Raises IllegalStep."""
        before, self.state = self.state, after(self.state, step)
        self.reason = self.reason or reason
        self.warm |= self.state is State.WARM
        self.adopted |= step is Step.ADOPT
        if self.state is not before:
            self._told(self, before)

    def blame(self, reason: Reason) -> None:
        """Should it come to its end, this is why."""
        self.reason = self.reason or reason

    def kill(self, reason: Reason) -> None:
        """It is being ended, whatever it was about to do; nothing where that has begun."""
        if self.state is State.REQUESTED:
            self.step(Step.END, reason)
        elif (self.state, Step.KILL) in TABLE:
            self.step(Step.KILL, reason)
