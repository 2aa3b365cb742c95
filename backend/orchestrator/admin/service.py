"""What administrators see of the running server, and what they stop. Everything they do is written down, before it is
done."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.accounts import Accounts
from orchestrator.admin import schemas
from orchestrator.audit import audit
from orchestrator.errors import KernelUnavailable, NotFound
from orchestrator.ports import Kernel, Model
from orchestrator.quotas.schemas import Quota, QuotaLimit, meant, told
from orchestrator.quotas.schemas import Quotas as QuotaSettings
from orchestrator.quotas.service import Quotas
from orchestrator.turns import Turns
from orchestrator.usage import DAY_S, Usage, Used, day_of
from orchestrator.users.principal import LOCAL, Principal

log = logging.getLogger(__name__)

CHECK_S = 5.0
"""A model server that does not say how it is within this time is not well."""
AUDIT_PAGE = 100


@dataclass(frozen=True, slots=True)
class Served:
    """The model that this server asks."""

    model: Model
    url: str
    profile: str


class Operations:
    """`who` is an administrator. `quotas` is None where this server counts nothing. `clock` gives Unix seconds. Methods
    raise `StoreUnavailable`."""

    def __init__(self, accounts: Accounts, usage: Usage, kernel: Kernel, turns: Turns, served: Served,
                 quotas: Quotas | None, clock: Callable[[], float]) -> None:  # fmt: skip
        self._accounts = accounts
        self._usage = usage
        self._kernel = kernel
        self._turns = turns
        self._served = served
        self._quotas = quotas
        self._clock = clock

    # ---- what runs ---------------------------------------------------------------------------------------------------

    async def live(self) -> schemas.LiveNow:
        """Of all servers that share the store and the executor."""
        names, turns = await self._names(), await self._usage.live_turns()
        words = ""
        try:
            lines = await self._kernel.sandboxes()
        except KernelUnavailable as error:
            lines, words = [], error.words
        owners = await self._usage.owners([line.conversation for line in lines])
        return schemas.LiveNow(
            turns=[
                schemas.LiveTurn(
                    conversation=turn.conversation, turn=turn.turn, user=turn.user, user_name=names.get(turn.user, ""),
                    opened_at=turn.opened_at,
                )
                for turn in turns
            ],
            sandboxes=[
                schemas.LiveSandbox(
                    conversation=line.conversation, user=owners.get(line.conversation, ""),
                    user_name=names.get(owners.get(line.conversation, ""), ""), state=line.state, idle_s=line.idle_s,
                    memory_used=line.memory_used, disk=line.disk,
                )
                for line in lines
            ],
            words=words,
        )  # fmt: skip

    async def stop_turn(self, who: Principal, conversation: str, turn: str) -> None:
        """Whichever server runs it. Raises `NotFound` when it is not open (any more)."""
        found = [one for one in await self._usage.live_turns() if (one.conversation, one.turn) == (conversation, turn)]
        if not found:
            raise NotFound("That turn is not open. It may just have ended.")
        await self._note(who, "turn.stopped", conversation, turn=turn, user=found[0].user)
        await self._turns.stop(conversation, turn)

    async def end_sandbox(self, who: Principal, conversation: str) -> None:
        """Files stay; a cell that runs is stopped. Raises `NotFound`, `KernelUnavailable`."""
        if conversation not in [line.conversation for line in await self._kernel.sandboxes()]:
            raise NotFound("There is no sandbox of that conversation. It may just have ended.")
        owner = (await self._usage.owners([conversation])).get(conversation, "")
        await self._note(who, "sandbox.ended", conversation, user=owner)
        await self._kernel.end(conversation)

    # ---- what was used -----------------------------------------------------------------------------------------------

    async def usage(self, days: int) -> schemas.UsageReport:
        """Of the last `days` days, today included."""
        today = day_of(self._clock())
        lines = await self._usage.lines(today - days + 1)
        names, disks = await self._names(), await self._usage.disks()
        by_user: dict[str, Used] = defaultdict(Used)
        by_day: dict[int, list[Used]] = defaultdict(list)
        for line in lines:
            by_user[line.user] = _sum(by_user[line.user], line.used)
            by_day[line.day].append(line.used)
        users = [_user_line(user, names.get(user, ""), by_user[user], disks.get(user, 0)) for user in {*by_user, *disks}]
        users.sort(key=lambda line: (-line.model_tokens, -line.messages, -line.disk_bytes, line.user))
        counted = self._quotas is not None
        span = range(today - days + 1, today + 1)
        return schemas.UsageReport(counted=counted, users=users, days=[_day(day, by_day[day]) for day in span])

    # ---- quotas ------------------------------------------------------------------------------------------------------

    def quotas(self) -> QuotaSettings:
        """Raises `NotFound` where nothing is counted."""
        quotas = self._counting()
        settings = [QuotaLimit(what=what, most=most) for what, most in quotas.settings.items()]
        return QuotaSettings(settings=settings, quotas=[told(quota) for quota in quotas.sets])

    async def set_quota(self, who: Principal, quota: Quota) -> QuotaSettings:
        """In place of the one before; without limits it is removed. Raises `NotFound` for a user that there is not."""
        quotas = self._counting()
        if quota.scope == "user" and quota.limits and quota.name not in await self._names():
            raise NotFound("There is no such user. Their account may have been removed.")
        limits = {limit.what.value: limit.most for limit in quota.limits}
        await self._note(who, "quota.set", f"{quota.scope} {quota.name}".strip(), **limits)
        await quotas.set(meant(quota))
        return self.quotas()

    def _counting(self) -> Quotas:
        if self._quotas is None:
            raise NotFound(
                "This server counts nothing, so there are no quotas. Set CODEACT_AUTH or a CODEACT_QUOTA_… first."
            )
        return self._quotas

    # ---- the rest ----------------------------------------------------------------------------------------------------

    async def models(self) -> schemas.ModelList:
        served = self._served
        try:
            async with asyncio.timeout(CHECK_S):
                part = await served.model.check()
            ok, words = part.ok, part.words
        except TimeoutError:
            ok, words = False, f"The model server has not answered for {CHECK_S:.0f} seconds."
        info = schemas.ModelInfo(name=served.model.name, url=served.url, profile=served.profile, ok=ok, words=words)
        return schemas.ModelList(models=[info])

    async def audit(self, before: int | None) -> schemas.AuditPage:
        """One more than is told is read, to know whether there are more."""
        records = await self._accounts.audit.read(before, AUDIT_PAGE + 1)
        names = await self._names()
        entries = [
            schemas.AuditEntry(
                id=record.id, at=record.at, actor=record.actor, actor_name=names.get(record.actor, ""),
                action=record.action, subject=record.subject, details=record.details,
            )
            for record in records[:AUDIT_PAGE]
        ]  # fmt: skip
        return schemas.AuditPage(entries=entries, more=len(records) > AUDIT_PAGE)

    async def _names(self) -> dict[str, str]:
        """Of all users, by id."""
        return {LOCAL.user: LOCAL.name} | {user.id: user.name for user, _ in await self._accounts.users.all()}

    async def _note(self, who: Principal, action: str, subject: str, **details: str | int | None) -> None:
        await audit(self._accounts.audit, who.user, action, subject, **details)


def _sum(one: Used, other: Used) -> Used:
    return Used(
        one.messages + other.messages,
        one.model_tokens + other.model_tokens,
        one.cpu_ms + other.cpu_ms,
        one.disk + other.disk,
    )


def _user_line(user: str, name: str, used: Used, disk: int) -> schemas.UsageLine:
    return schemas.UsageLine(
        user=user, user_name=name, messages=used.messages, model_tokens=used.model_tokens,
        cpu_seconds=used.cpu_ms / 1000, disk_bytes=disk,
    )  # fmt: skip


def _day(day: int, users: list[Used]) -> schemas.UsageDay:
    return schemas.UsageDay(
        day=float(day * DAY_S), users=len(users), messages=sum(used.messages for used in users),
        model_tokens=sum(used.model_tokens for used in users), cpu_seconds=sum(used.cpu_ms for used in users) / 1000,
    )  # fmt: skip
