"""How many sandboxes there may be: a place for each, a queue for those that find none, and somebody idle who goes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from executor import words
from executor.ledger import Ledger
from executor.lifecycle import Life, Step
from executor.sandbox.base import SandboxUnavailable
from executor.settings import Settings

AGAIN_S = 0.5  # between looks for somebody who has become idle for long enough
MAKING_ROOM_S = 10.0  # the longest to wait for a sandbox that is ending to make room


class Full(SandboxUnavailable):
    """There is no room now. `retry_s`: after so many seconds asking again makes sense."""

    retry_s = 10.0


class OverQuota(SandboxUnavailable):
    """The tenant has as many sandboxes as it may have."""


@dataclass(slots=True, eq=False)
class _Place:
    life: Life
    granted: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Admission:
    """First come, first served. `evict(tenant)` begins to end the sandbox that has been idle the longest (of one tenant,
    or of all where it is None), and says whether there was one."""

    def __init__(self, settings: Settings, ledger: Ledger, evict: Callable[[str | None], bool]) -> None:
        self._settings = settings
        self._ledger = ledger
        self._evict = evict
        self._queue: deque[_Place] = deque()

    @property
    def spare(self) -> int:
        """Places that are free, with nobody waiting for them."""
        return max(0, self._settings.max - self._ledger.holding() - len(self._queue))

    def check_quota(self, life: Life) -> None:
        """Raises OverQuota. A tenant at its limit whose own sandboxes are idle loses the one idle the longest."""
        limit = self._settings.per_tenant
        if not limit or len(list(self._ledger.of_tenant(life.tenant))) <= limit:
            return
        if not self._evict(life.tenant):
            self._ledger.counts.refusals["quota"] += 1
            raise OverQuota(words.over_quota(limit))

    async def admit(self, life: Life) -> None:
        """Grants `life` its place, waiting for one as long as the settings say. Raises Full."""
        place = _Place(life)
        self._queue.append(place)
        try:
            self.pump()
            if not place.granted.done():
                await self._wait(place)
        finally:
            if place in self._queue:
                self._queue.remove(place)
                self.pump()

    async def _wait(self, place: _Place) -> None:
        deadline = asyncio.get_running_loop().time() + self._settings.queue_s
        latest = deadline + MAKING_ROOM_S
        while not place.granted.done():
            now = asyncio.get_running_loop().time()
            if now >= (latest if self._ledger.ending() else deadline):
                self._ledger.counts.refusals["capacity"] += 1
                raise Full(words.all_taken(self._settings.max))
            await asyncio.wait([place.granted], timeout=AGAIN_S)
            self.pump()

    def pump(self) -> None:
        """Give out what room there is, in order; end as many idle sandboxes as are still waited for."""
        while self._queue and self._ledger.holding() < self._settings.max:
            place = self._queue.popleft()
            place.life.step(Step.GRANT)
            place.granted.set_result(None)
        for _ in range(len(self._queue) - self._ledger.ending()):
            if not self._evict(None):
                return
