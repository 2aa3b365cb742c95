"""What the endpoints of quotas are sent and answer; `orchestrator.schema` makes TypeScript types of it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from orchestrator.protocol.base import Value
from orchestrator.quotas.policy import NAMES, Standing
from orchestrator.usage import MOST, QuotaSet, Scope, What


class QuotaLine(Value):
    """`name` is for people. `limit` and `remaining`: null where there is no limit. `resets_at`: Unix seconds; null where
    nothing resets by itself."""

    what: What
    name: str
    used: float
    limit: int | None
    remaining: float | None
    unit: str
    resets_at: float | None


class QuotaList(Value):
    """Empty where nothing is counted."""

    limits: list[QuotaLine]


class QuotaLimit(Value):
    """`most`: null allows as much as one likes, whatever holds for others; 0 allows nothing."""

    what: What
    most: Annotated[int, Field(ge=0, le=MOST)] | None


class Quota(Value):
    """The limits of a group or a user (`name`: its name, their id), or of everybody else (`default`, without a name). What
    is left out is as for those above: the group, everybody, the server's settings."""

    scope: Scope
    name: Annotated[str, StringConstraints(max_length=64)]
    limits: Annotated[list[QuotaLimit], Field(max_length=len(What))]

    @model_validator(mode="after")
    def _makes_sense(self) -> Quota:
        """Raises ValueError."""
        if (self.scope == "default") == bool(self.name):
            raise ValueError("a quota of a group or user has its name, the one of everybody has none")
        if len({limit.what for limit in self.limits}) < len(self.limits):
            raise ValueError("a limit is there twice")
        return self


class Quotas(Value):
    """`settings`: what the server's environment sets; it holds where no quota says otherwise."""

    settings: list[QuotaLimit]
    quotas: list[Quota]


MODELS: tuple[type[Value], ...] = (QuotaList, Quota, Quotas)


def line(standing: Standing) -> QuotaLine:
    name, unit = NAMES[standing.what]
    return QuotaLine(
        what=standing.what, name=name, used=standing.used, limit=standing.most, remaining=standing.remaining, unit=unit,
        resets_at=standing.resets_at,
    )  # fmt: skip


def told(quota: QuotaSet) -> Quota:
    limits = [QuotaLimit(what=what, most=most) for what, most in quota.limits.items()]
    return Quota(scope=quota.scope, name=quota.name, limits=limits)


def meant(quota: Quota) -> QuotaSet:
    return QuotaSet(quota.scope, quota.name, {limit.what: limit.most for limit in quota.limits})
