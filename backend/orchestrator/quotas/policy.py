"""What somebody may use, and what is left of it. Pure: counts and a time in, standings out.

A limit set for the user holds before one of their group, that before the one for everybody else, and that before the
server's settings, each for itself. A day is one of UTC: counts begin anew at its end, and no clock gives anything back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from orchestrator.usage import Limits, QuotaSet, Scope, Used, What, day_of, end_of

DAILY: Final = (What.MESSAGES, What.MODEL_TOKENS, What.CPU_SECONDS)

NAMES: Final = {
    What.MESSAGES: ("Messages a day", "messages"),
    What.MODEL_TOKENS: ("Model tokens a day", "tokens"),
    What.CPU_SECONDS: ("CPU time a day", "seconds"),
    What.SANDBOXES: ("Sandboxes at a time", "sandboxes"),
    What.DISK: ("Disk", "bytes"),
}
"""For people; and the unit."""

_PRECEDENCE: tuple[Scope, ...] = ("default", "group", "user")


@dataclass(frozen=True, slots=True)
class Standing:
    """How much of one thing is used. `most`: None for no limit. `resets_at`: Unix seconds; None where nothing resets by
    itself."""

    what: What
    used: float
    most: int | None
    resets_at: float | None

    @property
    def remaining(self) -> float | None:
        return None if self.most is None else max(0.0, self.most - self.used)

    @property
    def spent(self) -> bool:
        return self.most is not None and self.used >= self.most


def effective(settings: Limits, sets: Iterable[QuotaSet], user: str, group: str) -> dict[What, int]:
    """The user's limits; what is not in it is unlimited."""
    names = {"default": "", "group": group, "user": user}
    found = {(quota.scope, quota.name): quota.limits for quota in sets}
    merged = dict(settings)
    for scope in _PRECEDENCE:
        if scope == "default" or names[scope]:
            merged.update(found.get((scope, names[scope]), {}))
    return {what: most for what, most in merged.items() if most is not None}


def concerns(settings: Limits, sets: Iterable[QuotaSet], user: str) -> bool:
    """Whether this user may have any limit at all, as far as can be said without knowing their group."""
    if any(most is not None for most in settings.values()):
        return True
    return any(
        (quota.scope != "user" or quota.name == user) and any(most is not None for most in quota.limits.values())
        for quota in sets
    )


def standings(limits: dict[What, int], used: Used, at: float) -> list[Standing]:
    """All that is counted in the store, as of the day of `at`."""
    ends = end_of(day_of(at))
    amounts = {
        What.MESSAGES: float(used.messages),
        What.MODEL_TOKENS: float(used.model_tokens),
        What.CPU_SECONDS: used.cpu_ms / 1000,
        What.DISK: float(used.disk),
    }
    return [Standing(what, amount, limits.get(what), ends if what in DAILY else None) for what, amount in amounts.items()]


def first_spent(all_of_them: Iterable[Standing]) -> Standing | None:
    """What forbids the next message: of several, what lasts longest."""
    spent = [standing for standing in all_of_them if standing.spent]
    return max(spent, key=lambda standing: standing.resets_at or float("inf"), default=None)


def words(standing: Standing, at: float) -> str:
    """Why a message is refused, and the next step."""
    most = standing.most or 0
    match standing.what:
        case What.MESSAGES:
            used = f"all {_number(most, 'message')} that you may send a day" if most else "no messages: you may send none"
        case What.MODEL_TOKENS:
            used = f"all {_number(most, 'model token')} that you may use a day"
        case What.CPU_SECONDS:
            used = f"all {_number(most, 'second')} of CPU time that you may use a day"
        case What.SANDBOXES:
            return (
                f"{_number(most, 'sandbox', 'sandboxes')} at a time, which is all that you may have, are in use. Wait"
                " until an answer in another conversation has ended, or stop one."
            )
        case What.DISK:
            return (
                f"Your conversations' files use {_size(standing.used)} of the {_size(most)} that you may store. Delete"
                " conversations that you no longer need, then send this again."
            )
    return f"You have used {used}. {_again(standing, at)} An administrator can allow you more."


def retry_after(standing: Standing, at: float) -> float:
    """Seconds after which asking again makes sense."""
    if standing.resets_at is None:
        return 30.0
    return max(1.0, standing.resets_at - at)


def _again(standing: Standing, at: float) -> str:
    seconds = retry_after(standing, at)
    if seconds >= 5400:
        return f"It begins anew at midnight UTC, in about {round(seconds / 3600)} hours."
    return f"It begins anew at midnight UTC, in {_number(max(1, round(seconds / 60)), 'minute')}."


def _number(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _size(count: float) -> str:
    for unit, size in (("GB", 1024**3), ("MB", 1024**2), ("KB", 1024)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f} bytes"
