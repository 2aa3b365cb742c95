"""What an executor does by itself: take up what its earlier life left, keep sandboxes warm, end the idle and the old, and
look whether all is as it should be."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from executor import handover, words
from executor.adoption import Reconciliation, adopt
from executor.leases import Leases
from executor.ledger import Ledger
from executor.lifecycle import Reason
from executor.memory import Memory
from executor.sandbox.base import SandboxUnavailable
from executor.settings import Settings
from executor.slot import Slot
from executor.store import StoreUnavailable
from executor.supply import Supply

log = logging.getLogger(__name__)

LOOK_S = 30.0


class Housekeeping:
    """`slot_of` gives the slot of a conversation, made where there was none; `cull` ends what is idle or old."""

    def __init__(
        self,
        supply: Supply,
        ledger: Ledger,
        memory: Memory,
        leases: Leases,
        workspaces: Path,
        settings: Settings,
        clock: Callable[[], float],
        slots: dict[str, Slot],
        slot_of: Callable[[str], Slot],
        cull: Callable[[], Awaitable[None]],
    ) -> None:
        self._supply = supply
        self._ledger = ledger
        self._memory = memory
        self._leases = leases
        self._workspaces = workspaces
        self._settings = settings
        self._clock = clock
        self._slot_of = slot_of
        self._cull = cull
        self._reconciliation = Reconciliation(ledger, slots, clock)
        self._beginning: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._loaded = asyncio.Event()
        self._ended = False

    def begin(self) -> None:
        """Returns at once. Idempotent."""
        if self._beginning is None and not self._ended:
            self._beginning = asyncio.create_task(self._begin())
            self._looking = asyncio.create_task(self._look_for_ever())

    async def begun(self, slot: Slot) -> None:
        """Waits until sandboxes may be made for this conversation. Raises what taking up the earlier life raised; the next
        call tries again."""
        if self._beginning is None or self._ended:
            raise SandboxUnavailable(f"{words.CLOSING}.")
        try:
            await asyncio.shield(self._beginning)
        except Exception:
            if self._beginning.done():
                self._beginning = asyncio.create_task(self._begin())
            raise
        try:
            await self._memory.recall(slot)
        except StoreUnavailable as error:
            log.error("%s What became of earlier variables is not known.", error)

    async def end(self) -> None:
        self._ended = True
        for task in (self._looking, self._beginning):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])

    async def leases_known(self) -> None:
        """Waits until the leases of earlier lives have been read, or cannot be."""
        self.begin()
        if self._beginning is not None and not self._loaded.is_set():
            await self._loaded.wait()

    async def _load(self) -> None:
        try:
            await self._leases.load()
        except StoreUnavailable as error:
            log.error("%s No lease can be granted.", error)
        finally:
            self._loaded.set()

    async def _begin(self) -> None:
        await self._load()
        sandboxes = await self._supply.backend.adopt()
        await asyncio.to_thread(handover.settle, self._workspaces)
        try:
            for conversation, missing in await self._memory.settle([one.id for one in sandboxes]):
                facts = {"conversation": conversation, "sandbox": missing, "reason": Reason.HOST_LOST}
                self._ledger.note("lost", facts)
        except StoreUnavailable as error:
            log.error("%s What was lost is not known.", error)
        for sandbox in sandboxes:
            slot = self._slot_of(str(sandbox.conversation))
            lease = self._leases.of(slot.conversation)
            slot.tenant = lease.tenant if lease is not None else ""
            adopt(sandbox, slot, self._ledger, self._clock, self._supply.obtain)
        self._supply.pool.begin()

    async def _look_for_ever(self) -> None:
        while True:
            await asyncio.sleep(min(LOOK_S, self._settings.idle_minutes * 15))
            try:
                await self._cull()
                self._supply.pool.retire(self._clock(), self._settings.hard_lifetime_s / 2)
                await self._reconciliation.look()
            except Exception:  # one look that failed must not be the last
                log.exception("a look at the sandboxes failed")
