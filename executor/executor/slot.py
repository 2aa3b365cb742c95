"""One conversation's sandbox: made when needed, replaced when lost, dropped when told. At most one at any time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from executor.channel import Channel
from executor.history import History
from executor.holding import Holding
from executor.lifecycle import IllegalStep, Life, Reason, State, Step
from executor.live import Live
from executor.sandbox.base import Limits, Profile, SandboxUnavailable
from executor.shared import heard, result
from executor.wire import KernelState, SandboxStatus

log = logging.getLogger(__name__)

REVIVE_S = 10.0  # for a kernel in the place of one that died, before the whole sandbox is replaced

Listener = Callable[[str], None]
Source = Callable[["Slot", Listener], Awaitable[Live]]
"""Gives a slot a sandbox whose kernel answers. Raises SandboxUnavailable."""


class Slot(Holding):
    """`begun` waits until sandboxes may be made (or raises SandboxUnavailable); `obtain` gives it one."""

    def __init__(
        self,
        conversation: str,
        workspace: Path,
        limits: Limits,
        begun: Callable[[Slot], Awaitable[None]],
        obtain: Source,
        wall: Callable[[], float],
        changed: Callable[[Slot], None],
    ) -> None:
        super().__init__(workspace, limits.data, History(wall, lambda: changed(self)))
        self.conversation = conversation
        self.workspace = workspace
        self.limits = limits
        self.tenant = ""
        self.profile = Profile.STANDARD
        self.turn = asyncio.Lock()  # held by the cell that runs
        self.used = 0.0  # when a cell last began or ended, on the manager's clock
        self.note = ""  # what became of a cell that an earlier life of the executor was running
        self.listeners: set[Listener] = set()
        self._begun = begun
        self._obtain = obtain

    @property
    def state(self) -> KernelState:
        return self.life.seen if self.life is not None else KernelState.NONE

    @property
    def channel(self) -> Channel | None:
        """The kernel, when it can take a cell right now."""
        live = self._live
        if live is None or not live.channel.usable or self.draining:
            return None
        return live.channel

    @property
    def draining(self) -> bool:
        """The cell that runs is the last one of this sandbox."""
        return self.life is not None and self.life.state is State.DRAINING

    @property
    def forgettable(self) -> bool:
        """Whether nothing would be lost if a new slot took this one's place."""
        going = any(task is not None and not task.done() for task in (self._making, self._dropping))
        return self.state is KernelState.NONE and not going and not self.turn.locked()

    def ready(self) -> asyncio.Task[Channel] | Channel:
        """The kernel if it answers, else the task that makes it answer, shared by all who wait. The task raises
        SandboxUnavailable; abandoning it does not end it."""
        if (channel := self.channel) is not None:
            return channel
        if self._making is None or self._making.done():
            return self._make_by(self._obtain)
        if self._phase:
            self._announce(self._phase)
        return self._making

    async def awake(self) -> Channel:
        """The kernel, once it answers. Raises SandboxUnavailable."""
        ready = self.ready()
        return ready if isinstance(ready, Channel) else await result(ready)

    def adopt(self, life: Life, source: Source) -> None:
        """There is a sandbox that an earlier life of the executor made for this conversation; `source` takes it up, or
        finds another. For as long as that takes, it is being made."""
        self.life = life
        self._make_by(source)

    def _make_by(self, source: Source) -> asyncio.Task[Channel]:
        self._making = asyncio.create_task(self._make(source))
        self._making.add_done_callback(heard)
        return self._making

    def status(self) -> SandboxStatus:
        usage = self._live.sandbox.usage() if self._live is not None else None
        return SandboxStatus(
            state=self.state,
            note=self.note,
            memory_used=usage.memory if usage is not None else None,
            memory_limit=self.limits.memory if usage is not None else None,
            holds_variables=self.life is not None and self.history.holds_variables,
        )

    def step(self, step: Step) -> None:
        """Raises IllegalStep."""
        if self.life is None:
            raise IllegalStep(f"{step} without a sandbox")
        self.life.step(step)
        if step is Step.RUN:
            self.gauge.calm()
            self.note = ""
            self.history.hold()

    def finish(self) -> None:
        """A cell has ended, and its turn is about to."""
        if self.draining:
            self.drop(Reason.MAX_LIFETIME)

    # ---- making ------------------------------------------------------------------------------------------------------

    async def _make(self, source: Source) -> Channel:
        dropping = self._dropping
        try:
            if dropping is not None:
                await asyncio.shield(dropping)
            await self._begun(self)
            if self._making is not None and self._making is not asyncio.current_task():
                return await result(self._making)  # there was a sandbox of this conversation, which is taken up
            return self.channel or await self._revived() or await self._created(source)
        except Exception:
            if self._making is asyncio.current_task():  # or it was given up, and there may be another one
                self._failed()
            raise

    async def _revived(self) -> Channel | None:
        """The kernel that replaces one that died; None when there is no sandbox, or none that comes to life again."""
        live = self._live
        if live is None:
            return None
        self._announce("restarting Python")
        try:
            async with asyncio.timeout(REVIVE_S):
                await live.channel.answering()
        except (SandboxUnavailable, TimeoutError):
            reason = self._why() if live.channel.lost else Reason.KERNEL_CRASH_LOOP
            self._part(reason)
            await live.end(reason)
            return None
        live.life.step(Step.READY)
        self._is_ready()
        return live.channel

    async def _created(self, source: Source) -> Channel:
        self._announce("starting the sandbox")
        live = await source(self, self._announce)
        try:
            await self.files.look()
            if live.channel.lost or self._making is not asyncio.current_task():
                raise SandboxUnavailable("The sandbox ended while Python was starting.")
        except BaseException:
            await live.end(Reason.GATEWAY_DIED if live.channel.lost else Reason.RELEASED)
            raise
        self._take(live)
        return live.channel

    def _take(self, live: Live) -> None:
        self.life, self._live = live.life, live
        self.gauge.watch(live.sandbox)
        live.channel.tell = self._on
        if live.life.state is State.BOOTING:
            live.life.step(Step.READY)
        self._is_ready(live.same)

    def _is_ready(self, same: bool = False) -> None:
        self._phase = ""
        self.history.begin(same)

    def _failed(self) -> None:
        """A making came to nothing. (One that was given up by `drop` is seen to there.)"""
        live = self._live
        self._part(Reason.CREATE_TIMEOUT)
        if live is not None:
            self._dropping = asyncio.create_task(self._drop(live, Reason.CREATE_TIMEOUT, None, self._dropping, False))

    def _announce(self, phase: str) -> None:
        self._phase = phase
        for listener in self.listeners:
            listener(phase)

    # ---- ending ------------------------------------------------------------------------------------------------------

    def _on(self, step: Step) -> None:
        """What the channel tells. A loss while the kernel is being waited for is dealt with by `_make`."""
        self.gauge.read()
        if step is not Step.GONE:
            self.step(step)
            self.history.lose("out_of_memory" if self.gauge.burst() else "kernel_died")
            return
        live = self._live
        if live is None:
            return
        live.life.step(Step.GONE)
        if self._making is None or self._making.done():
            self._part()
            self._dropping = asyncio.create_task(self._bury(live, self._dropping))
