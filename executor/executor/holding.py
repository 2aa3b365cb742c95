"""What there is of a conversation's sandbox right now, and how it is parted with: at once; what takes long comes after."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from executor.channel import Channel
from executor.history import History
from executor.lifecycle import Life, Reason, Step
from executor.live import Live
from executor.pressure import Gauge
from executor.watch import Watch

LEAVE_S = 15.0
LAST_S = 2.0  # for a sandbox whose gateway is gone to end as a whole, and to show why


class Holding:
    """A sandbox, or the task that makes one, and the task that ends the one before."""

    def __init__(self, workspace: Path, data: int, history: History) -> None:
        self.life: Life | None = None  # of its sandbox, also while that is being made
        self.history = history
        self.files = Watch(workspace)
        self.gauge = Gauge(data)
        self._phase = ""
        self._live: Live | None = None
        self._making: asyncio.Task[Channel] | None = None
        self._dropping: asyncio.Task[None] | None = None

    @property
    def live(self) -> Live | None:
        return self._live

    def drop(self, reason: Reason, with_files: bool = False) -> asyncio.Task[None]:
        """Part with the sandbox at once; the task ends it. The next one is not made before that is done."""
        live, making = self._live, self._making
        self._making = None
        self._part(reason)
        self._dropping = asyncio.create_task(self._drop(live, reason, making, self._dropping, with_files))
        return self._dropping

    async def gone(self, within_s: float) -> None:
        """Waits until nothing is left of the sandbox that was dropped last."""
        if self._dropping is not None:
            await asyncio.wait([self._dropping], timeout=within_s)

    async def leave(self) -> None:
        """Let go of the sandbox, which goes on living. Nothing may be running in it. One that is still being made gets a
        little time to come into being."""
        if self._making is not None:
            await asyncio.wait([self._making], timeout=LEAVE_S)
            if not self._making.done():
                await self.drop(Reason.RELEASED)
        await self.gone(LEAVE_S)
        live, self._live, self.life = self._live, None, None
        if live is not None:
            await live.leave()

    def _why(self) -> Reason:
        return Reason.OOM_CONTAINER if self.gauge.burst() else Reason.GATEWAY_DIED

    def _part(self, reason: Reason | None = None) -> None:
        """One that is still being made is only blamed: whoever makes it has to end it. Without a reason it is still to be
        found, and the sandbox to be ended."""
        self.gauge.read()
        life, self.life, live, self._live = self.life, None, self._live, None
        self._phase = ""
        if life is not None and reason is not None:
            life.blame(reason)
        if live is not None and reason is not None:
            live.life.kill(reason)
        self.history.lose(reason or Reason.GATEWAY_DIED)

    async def _bury(self, live: Live, before: asyncio.Task[None] | None) -> None:
        """It ended by itself, or answers no more. Why shows once all of it has ended."""
        if before is not None:
            await asyncio.wait([before])
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_S):
                await live.sandbox.wait()
        self.history.explain(self._why())
        await live.end(self._why())

    async def _drop(
        self,
        live: Live | None,
        reason: Reason,
        making: asyncio.Task[Channel] | None,
        before: asyncio.Task[None] | None,
        with_files: bool,
    ) -> None:
        if before is not None:
            await asyncio.wait([before])
        if making is not None and not making.done():
            making.cancel()
            await asyncio.wait([making])
        if live is not None:
            live.channel.tell = _nobody
            await live.end(reason)
        if with_files:
            await self.files.remove()


def _nobody(step: Step) -> None:
    """Nobody wants to know any more."""
