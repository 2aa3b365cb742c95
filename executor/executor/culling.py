"""When a sandbox has to go although nobody said so: idle for too long, too old, or needed by somebody else. All by one
clock of our own; never by what a gateway says, and never by the wall's clock, which may jump."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from executor import words
from executor.lifecycle import Reason, State, Step
from executor.runs import Runs
from executor.settings import Settings
from executor.slot import Slot
from executor.wire import KernelState

EVICT_AFTER_S = 5.0  # an idle sandbox may be taken from its conversation when all are in use: variables go, files stay
BEFORE_S = 5.0  # its deadline a sandbox is ended by us, so that its cell is told


class Culling:
    """`slots` (by conversation) and `runs` are the manager's own."""

    def __init__(self, slots: dict[str, Slot], runs: Runs, settings: Settings, clock: Callable[[], float]) -> None:
        self._slots = slots
        self._runs = runs
        self._settings = settings
        self._clock = clock

    async def cull(self) -> None:
        """End what is idle or old, once; returns when it has ended. A cell that runs may finish, until the sandbox's
        deadline."""
        now = self._clock()
        ending = [self._end_of(slot, now) for slot in list(self._slots.values())]
        if dropping := [task for task in ending if task is not None]:
            await asyncio.wait(dropping)

    def evict(self, tenant: str | None) -> bool:
        """Begin to end the sandbox that has been idle the longest, of one tenant or of all; whether there was one."""
        latest = self._clock() - EVICT_AFTER_S
        idle = [slot for slot in self._idle() if slot.used <= latest and tenant in (None, slot.tenant)]
        if not idle:
            return False
        min(idle, key=lambda slot: slot.used).drop(Reason.EVICTED_CAPACITY)
        return True

    def _end_of(self, slot: Slot, now: float) -> asyncio.Task[None] | None:
        live = slot.live
        if live is None:
            return None
        soft = live.deadline - self._settings.grace_minutes * 60
        if now >= live.deadline - BEFORE_S:
            for run in self._runs.of(slot.conversation):
                run.stop(words.TOO_OLD)
            return slot.drop(Reason.MAX_LIFETIME)
        if self._is_idle(slot):
            if slot.used <= now - self._settings.idle_minutes * 60:
                return slot.drop(Reason.IDLE)
            return slot.drop(Reason.MAX_LIFETIME) if now >= soft else None
        if now >= soft and live.life.state is State.BUSY:
            live.life.blame(Reason.MAX_LIFETIME)
            live.life.step(Step.DRAIN)
        return None

    def _idle(self) -> Iterable[Slot]:
        return (slot for slot in self._slots.values() if slot.live is not None and self._is_idle(slot))

    def _is_idle(self, slot: Slot) -> bool:
        busy = slot.state in (KernelState.NONE, KernelState.STARTING, KernelState.BUSY)
        return not busy and not self._runs.any_of(slot.conversation)
