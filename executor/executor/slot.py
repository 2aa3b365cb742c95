"""One conversation's sandbox: made when needed, replaced when lost, dropped when told. At most one at any time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from executor import files, words
from executor.channel import Channel
from executor.history import NOT_STOPPED, History
from executor.lifecycle import IllegalStep, Life, Reason, State, Step
from executor.live import Live
from executor.pressure import Pressure
from executor.sandbox.base import Limits, Profile, SandboxUnavailable
from executor.wire import KernelState, Rung, SandboxStatus

log = logging.getLogger(__name__)

LEAVE_S = 15.0
REVIVE_S = 10.0  # for a kernel in the place of one that died, before the whole sandbox is replaced
GLANCE_ENTRIES, GLANCE_S = 200, 0.001  # of a workspace, that may be looked at while everybody else waits

Listener = Callable[[str], None]
Resume = Callable[[Channel, bool], Awaitable[tuple[Rung, bool]]]


class Slot:
    """`begun` waits until sandboxes may be made; `obtain` gives it one. Both raise SandboxUnavailable."""

    def __init__(
        self,
        conversation: str,
        workspace: Path,
        limits: Limits,
        begun: Callable[[Slot], Awaitable[None]],
        obtain: Callable[[Slot, Listener], Awaitable[Live]],
        wall: Callable[[], float],
        changed: Callable[[Slot], None],
    ) -> None:
        self.conversation = conversation
        self.workspace = workspace
        self.limits = limits
        self.tenant = ""
        self.profile = Profile.STANDARD
        self.turn = asyncio.Lock()  # held by the cell that runs
        self.life: Life | None = None  # of its sandbox, also while that is being made
        self.used = 0.0  # when a cell last began or ended, on the manager's clock
        self.note = ""  # what became of a cell that an earlier life of the executor was running
        self.history = History(wall, lambda: changed(self))
        self.files = files.Snapshot()
        self.listeners: set[Listener] = set()
        self._begun = begun
        self._obtain = obtain
        self._phase = ""
        self._live: Live | None = None
        self._pressure = self._calm = Pressure()
        self._making: asyncio.Task[Channel] | None = None
        self._dropping: asyncio.Task[None] | None = None

    @property
    def state(self) -> KernelState:
        return self.life.seen if self.life is not None else KernelState.NONE

    @property
    def live(self) -> Live | None:
        return self._live

    @property
    def channel(self) -> Channel | None:
        """The kernel, when it can take a cell right now."""
        live = self._live
        if live is None or not live.channel.usable or live.life.state is State.DRAINING:
            return None
        return live.channel

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
            self._making = asyncio.create_task(self._make())
            self._making.add_done_callback(_heard)
        elif self._phase:
            self._announce(self._phase)
        return self._making

    def adopt(self, live: Live, resume: Resume) -> None:
        """A sandbox that an earlier life of the executor made for this conversation. `resume` opens the channel to it; for
        as long as that takes, it is being made."""
        self.life = live.life
        self._making = asyncio.create_task(self._adopted(live, resume))
        self._making.add_done_callback(_heard)

    def status(self) -> SandboxStatus:
        usage = self._live.sandbox.usage() if self._live is not None else None
        return SandboxStatus(
            state=self.state,
            note=self.note,
            memory_used=usage.memory if usage is not None else None,
            memory_limit=self.limits.memory if usage is not None else None,
        )

    def pressure(self) -> Pressure:
        """How short of memory the sandbox has been; of the last one, when there is none any more."""
        if self._live is not None:
            usage = self._live.sandbox.usage()
            self._pressure = Pressure(usage.oom_kills, usage.peak)
        return self._pressure

    def burst(self, before: Pressure) -> bool:
        """Whether memory has run out since."""
        return self.pressure().burst(before, self.limits.data)

    def step(self, step: Step) -> None:
        """Raises IllegalStep."""
        if self.life is None:
            raise IllegalStep(f"{step} without a sandbox")
        self.life.step(step)
        if step is Step.RUN:
            self._calm, self.note = self._pressure, ""
            self.history.hold()

    def finish(self) -> None:
        """A cell has ended, and its turn is about to."""
        if self.life is not None and self.life.state is State.DRAINING:
            self.drop(self.life.reason or Reason.MAX_LIFETIME)

    def drop(self, reason: Reason, with_files: bool = False) -> asyncio.Task[None]:
        """Part with the sandbox at once; the task ends it. The next one is not made before that is done."""
        live, making = self._live, self._making
        self._making = None
        self._part(reason)
        self._dropping = asyncio.create_task(self._drop(live, reason, making, self._dropping, with_files))
        return self._dropping

    async def leave(self) -> None:
        """Let go of the sandbox, which goes on living. Nothing may be running in it. One that is still being made gets a
        little time to come into being."""
        if self._making is not None:
            await asyncio.wait([self._making], timeout=LEAVE_S)
            if not self._making.done():
                await self.drop(Reason.RELEASED)
        live, self._live, self.life = self._live, None, None
        if live is not None:
            await live.leave()

    # ---- making ------------------------------------------------------------------------------------------------------

    async def _make(self) -> Channel:
        dropping = self._dropping
        try:
            if dropping is not None:
                await asyncio.shield(dropping)
            await self._begun(self)
            if self._making is not None and self._making is not asyncio.current_task():
                return await asyncio.shield(self._making)  # there was a sandbox of this conversation, which is adopted
            return self.channel or await self._revived() or await self._created()
        except Exception:
            self._failed()
            raise

    async def _adopted(self, live: Live, resume: Resume) -> Channel:
        self._announce("reconnecting to the sandbox")
        try:
            await self._begun(self)
            held = self.history.expected
            self.history.holds_variables = held
            rung, same = await resume(live.channel, held)
            await self._look()
        except (SandboxUnavailable, TimeoutError):
            await live.end(Reason.GATEWAY_DIED)
            self._part(Reason.GATEWAY_DIED)
            return await self._made_anew()
        except BaseException:
            await live.end(Reason.RELEASED)
            raise
        self.note = words.resumed(rung)
        if not same:
            self.history.lose(NOT_STOPPED if rung is Rung.RESTART else "kernel_died")
        live.channel.fresh = not (held and same)
        self._take(live, same)
        return live.channel

    async def _made_anew(self) -> Channel:
        try:
            return await self._created()
        except Exception:
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

    async def _created(self) -> Channel:
        self._announce("starting the sandbox")
        live = await self._obtain(self, self._announce)
        try:
            await self._look()
            if live.channel.lost or self._making is not asyncio.current_task():
                raise SandboxUnavailable("The sandbox ended while Python was starting.")
        except BaseException:
            await live.end(Reason.GATEWAY_DIED if live.channel.lost else Reason.RELEASED)
            raise
        self._take(live)
        return live.channel

    async def _look(self) -> None:
        """What files there are, before a cell changes any."""
        self.files = files.snapshot(self.workspace, GLANCE_ENTRIES, GLANCE_S)
        if not self.files.complete:
            self.files = await asyncio.to_thread(files.snapshot, self.workspace)

    def _take(self, live: Live, same: bool = False) -> None:
        """`same`: it is the kernel that the conversation had before."""
        self.life, self._live = live.life, live
        live.channel.tell = self._on
        if live.life.state is State.BOOTING:
            live.life.step(Step.READY)
        self._is_ready(same)

    def _is_ready(self, same: bool = False) -> None:
        self._phase = ""
        self.history.begin(same)

    def _failed(self) -> None:
        """A making of our own came to nothing. (One that is cancelled was given up by `drop`, which saw to the rest.)"""
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
        self.pressure()
        if step is not Step.GONE:
            self.step(step)
            self.history.lose("out_of_memory" if self.burst(self._calm) else "kernel_died")
        elif self._making is None or self._making.done():
            self.drop(self._why())

    def _why(self) -> Reason:
        return Reason.OOM_CONTAINER if self.burst(self._calm) else Reason.GATEWAY_DIED

    def _part(self, reason: Reason) -> None:
        """One that is still being made is only blamed: whoever makes it has to end it."""
        self.pressure()
        life, self.life, live, self._live = self.life, None, self._live, None
        self._phase = ""
        if life is not None:
            life.blame(reason)
        if live is not None:
            live.life.kill(reason)
        self.history.lose(reason)

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
            await asyncio.to_thread(files.remove, self.workspace)
            self.files = files.Snapshot()


def _nobody(step: Step) -> None:
    """Nobody wants to know any more."""


def _heard(task: asyncio.Task[Channel]) -> None:
    """A failure that nobody waited for (prepare) shows when a cell runs; it is no unretrieved exception."""
    if not task.cancelled():
        task.exception()
