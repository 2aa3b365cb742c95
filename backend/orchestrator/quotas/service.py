"""Who may begin what: asked before a turn is opened, answered from what the store has counted.

The quotas themselves are few and change seldom, so they are kept in memory and read anew when one has changed (`watch.py`):
a message of somebody who has none costs no question to the store.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from weakref import WeakValueDictionary

from executor.wire import KernelState
from orchestrator.errors import KernelUnavailable, OverQuota
from orchestrator.ports import Bus, Kernel, Spent
from orchestrator.quotas import policy
from orchestrator.quotas.policy import Standing
from orchestrator.usage import Limits, QuotaSet, Usage, What

log = logging.getLogger(__name__)

CHANNEL = "quotas"
"""Of the bus: something in them has changed."""
NOTHING_S = 0.01
"""CPU seconds of a sandbox that does nothing: looking after itself is not the user's."""


class Quotas:
    """The `Gate` of turns. `settings` are the limits of those for whom nothing else is said. `clock` gives Unix seconds."""

    def __init__(
        self, usage: Usage, kernel: Kernel, bus: Bus, settings: Limits, clock: Callable[[], float] = time.time
    ) -> None:
        self._usage = usage
        self._bus = bus
        self._kernel = kernel
        self.settings = settings
        self._clock = clock
        self._sets: Sequence[QuotaSet] = ()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._disks: dict[str, int | None] = {}  # bytes of conversations' files, as counted last
        self._let_in: dict[str, str] = {}  # conversations that are about to have a sandbox, and their users

    async def read(self) -> None:
        """The quotas as they are now."""
        self._sets = await self._usage.quotas()

    @property
    def sets(self) -> Sequence[QuotaSet]:
        return self._sets

    async def set(self, quota: QuotaSet) -> None:
        await self._usage.set_quota(quota)
        await self.read()
        await self._bus.publish(CHANNEL, b"changed")

    # ---- the gate ----------------------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Count what sandboxes use beside their cells: threads that go on, and files that were written at the last moment.
        Raises `KernelUnavailable`, `StoreUnavailable`."""
        at, before = self._clock(), self._disks
        told = await self._kernel.settle()
        self._disks = {one.conversation: one.disk for one in told}
        costs = {
            one.conversation: Spent(at, cpu_ms=round(one.cpu_s * 1000), disk=one.disk)
            for one in told
            if one.cpu_s >= NOTHING_S or one.disk != before.get(one.conversation)
        }
        await self._usage.charge(costs)

    async def admit(self, user: str, conversation: str) -> int | None:
        if not policy.concerns(self.settings, self._sets, user):
            return None
        limits, counted = await self._counted(user)
        if (spent := policy.first_spent(counted)) is not None:
            raise self._over(spent)
        if What.SANDBOXES in limits:
            await self._make_room(user, conversation, limits[What.SANDBOXES])
        return limits.get(What.MESSAGES)

    async def make_room(self, user: str, conversation: str) -> None:
        if policy.concerns(self.settings, self._sets, user):
            limits, _ = await self._counted(user)
            if What.SANDBOXES in limits:
                await self._make_room(user, conversation, limits[What.SANDBOXES])

    def decided(self, conversation: str) -> None:
        self._let_in.pop(conversation, None)

    async def refused(self, user: str) -> Exception:
        _, counted = await self._counted(user)
        used = next(standing for standing in counted if standing.what is What.MESSAGES)
        return self._over(policy.first_spent(counted) or used)

    async def standings(self, user: str) -> list[Standing]:
        """All that is counted, limited or not. Raises `StoreUnavailable`."""
        limits, counted = await self._counted(user, disk=True)
        return [*counted, Standing(What.SANDBOXES, float(await self._alive(user)), limits.get(What.SANDBOXES), None)]

    async def _counted(self, user: str, *, disk: bool = False) -> tuple[dict[What, int], list[Standing]]:
        at = self._clock()
        disk = disk or any(What.DISK in limits for limits in (self.settings, *(quota.limits for quota in self._sets)))
        now = await self._usage.now(user, at, disk=disk)
        limits = policy.effective(self.settings, self._sets, user, now.group)
        return limits, policy.standings(limits, now.used, at)

    def _over(self, standing: Standing) -> OverQuota:
        at = self._clock()
        return OverQuota(
            policy.words(standing, at),
            policy.retry_after(standing, at),
            standing.what.value,
            standing.most or 0,
            int(standing.remaining or 0),
        )

    # ---- sandboxes ---------------------------------------------------------------------------------------------------

    async def _make_room(self, user: str, conversation: str, most: int) -> None:
        """The conversation has a sandbox, or may have one. For that, the user's sandbox that has been idle the longest
        ends, files kept. Raises `OverQuota` when all are busy."""
        async with self._locks.setdefault(user, asyncio.Lock()):
            idle_s = await self._theirs(user)
            opening = {id for id, who in self._let_in.items() if who == user}
            busy = (await self._usage.open_in(user)) | opening
            alive = busy | idle_s.keys()
            if not most or (conversation not in idle_s and len(alive) >= most):
                idle = [(seconds, id) for id, seconds in idle_s.items() if id not in busy and seconds > 0]
                if not idle or len(busy) >= most:
                    raise self._over(Standing(What.SANDBOXES, len(alive), most, None))
                await self._kernel.end(max(idle)[1])
            self._let_in[conversation] = user

    async def _theirs(self, user: str) -> dict[str, float]:
        """The user's conversations that have a sandbox, and for how many seconds each has been idle. Where the executor is
        away there are none, and the cell itself will say so."""
        try:
            lines = await self._kernel.sandboxes()
        except KernelUnavailable as error:
            log.warning("sandboxes could not be counted: %s", error.words)
            return {}
        owners = await self._usage.owners([line.conversation for line in lines])
        return {
            line.conversation: max(line.idle_s, 0.001) if line.state is KernelState.IDLE else 0.0
            for line in lines
            if owners.get(line.conversation) == user
        }

    async def _alive(self, user: str) -> int:
        return len(await self._theirs(user))
