"""What people use of the server, and the ports that count it; beside `ports.py`, which names what a fact has cost.

Counts are kept per user and day (UTC), written in the transaction that stores the fact they belong to: what is stored once
is counted once, whoever crashes, and deleting a conversation gives nothing back. Times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

from orchestrator.ports import Spent

DAY_S = 86400
MOST = 2**53
"""No count or limit is larger: what every JSON reader takes for a whole number."""


class What(StrEnum):
    """What can be limited."""

    MESSAGES = "messages"  # of one day; going on with an answer is one, too
    MODEL_TOKENS = "model_tokens"  # of one day: written by the model, and read by it for the first time
    CPU_SECONDS = "cpu_seconds"  # of one day, of all sandboxes together
    SANDBOXES = "sandboxes"  # alive at a time
    DISK = "disk"  # bytes of all conversations' files


Scope = Literal["default", "group", "user"]
Limits = Mapping[What, int | None]
"""None: as much as one likes. What is not there is not said here."""


@dataclass(frozen=True, slots=True)
class QuotaSet:
    """The limits of a group, of a user, or (`name` empty) of everybody else."""

    scope: Scope
    name: str
    limits: Limits


@dataclass(frozen=True, slots=True)
class Used:
    """What one user has used on one day, and what they hold now (`disk`, in bytes)."""

    messages: int = 0
    model_tokens: int = 0
    cpu_ms: int = 0
    disk: int = 0


@dataclass(frozen=True, slots=True)
class Now:
    """What decides about a user's next message."""

    group: str
    used: Used


@dataclass(frozen=True, slots=True)
class Line:
    """One user's use of one day, which is the number of days since 1970-01-01."""

    day: int
    user: str
    used: Used


@dataclass(frozen=True, slots=True)
class LiveTurn:
    conversation: str
    turn: str
    user: str
    opened_at: float


class Usage(Protocol):
    """Every method is one transaction. Raises `StoreUnavailable`."""

    async def now(self, user: str, at: float, *, disk: bool) -> Now:
        """As of the day of `at`. `disk` says whether it is wanted: the files of all the user's conversations."""
        ...

    async def charge(self, costs: Mapping[str, Spent]) -> None:
        """What conversations have cost beside their facts, a transaction each. Those that are gone are left out."""
        ...

    async def lines(self, since_day: int) -> list[Line]:
        """Of that day and all later ones, by day; without disk."""
        ...

    async def disks(self) -> dict[str, int]:
        """Bytes of files by user, of those who have any."""
        ...

    async def quotas(self) -> list[QuotaSet]: ...

    async def set_quota(self, quota: QuotaSet) -> None:
        """In place of what there was for this scope and name."""
        ...

    async def live_turns(self) -> list[LiveTurn]:
        """Those that are open, oldest first, whichever server runs them."""
        ...

    async def owners(self, conversations: Sequence[str]) -> dict[str, str]:
        """The user of each conversation that there is."""
        ...

    async def open_in(self, user: str) -> set[str]:
        """The user's conversations with an open turn."""
        ...


class Gate(Protocol):
    """Asked before work begins."""

    async def admit(self, user: str, conversation: str) -> int | None:
        """How many messages the user may have sent today at most, this one included; None for as many as they like. Raises
        `OverQuota`. Where nothing is limited it neither waits nor reads."""
        ...

    async def make_room(self, user: str, conversation: str) -> None:
        """The conversation is about to have a sandbox, if it has none. Raises `OverQuota`."""
        ...

    def decided(self, conversation: str) -> None:
        """What was let in has begun, as the store and the executor know by now; or it has not."""
        ...

    async def refused(self, user: str) -> Exception:
        """What to raise when the user's last message of the day went to another one at the same moment."""
        ...


def day_of(at: float) -> int:
    return int(at // DAY_S)


def end_of(day: int) -> float:
    return float((day + 1) * DAY_S)
