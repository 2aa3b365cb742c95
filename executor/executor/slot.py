"""One conversation's sandbox: made when needed, replaced when lost, dropped when told. At most one at any time."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from executor import files, words
from executor.channel import Channel
from executor.lifecycle import Step, after
from executor.sandbox.base import Backend, Limits, Sandbox, SandboxUnavailable, Spec
from executor.wire import KernelState, SandboxStatus

log = logging.getLogger(__name__)

START_S = 60.0
REVIVE_S = 10.0  # for a kernel in the place of one that died, before the whole sandbox is replaced

Listener = Callable[[str], None]


class Live:
    """A sandbox and the channel to its kernel: they come and go together."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.channel = Channel(sandbox)
        self._watcher = asyncio.create_task(self._watch())

    async def end(self) -> None:
        self._watcher.cancel()
        try:
            await self.channel.close()
        finally:
            await self.sandbox.kill()

    async def _watch(self) -> None:
        how = await self.sandbox.wait()
        log.info("sandbox %s ended: %s", self.sandbox.id, how)
        self.channel.give_up()


class Pressure(NamedTuple):
    """Processes killed for memory, and the most bytes ever used; None where this host cannot tell. Both only grow."""

    kills: int | None
    peak: int | None


class Slot:
    """`admit` is awaited before a sandbox is made and refuses by raising SandboxUnavailable."""

    def __init__(
        self, conversation: str, workspace: Path, backend: Backend, limits: Limits, admit: Callable[[Slot], Awaitable[None]]
    ) -> None:
        self.conversation = conversation
        self.workspace = workspace
        self.limits = limits
        self.turn = asyncio.Lock()  # held by the cell that runs
        self.state = KernelState.NONE
        self.used = 0.0  # when a cell last began or ended, on the manager's clock
        self.files = files.Snapshot()
        self.listeners: set[Listener] = set()
        self._backend = backend
        self._admit = admit
        self._phase = ""
        self._live: Live | None = None
        self._pressure = Pressure(None, None)
        self._making: asyncio.Task[Channel] | None = None
        self._dropping: asyncio.Task[None] | None = None

    @property
    def channel(self) -> Channel | None:
        """The kernel, when it can take a cell right now."""
        return self._live.channel if self._live is not None and self._live.channel.usable else None

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

    def status(self) -> SandboxStatus:
        usage = self._live.sandbox.usage() if self._live is not None else None
        return SandboxStatus(
            state=self.state,
            memory_used=usage.memory if usage is not None else None,
            memory_limit=self.limits.memory if usage is not None else None,
        )

    def pressure(self) -> Pressure:
        """How short of memory the sandbox has been; of the last one, when there is none any more."""
        if self._live is not None:
            usage = self._live.sandbox.usage()
            self._pressure = Pressure(usage.oom_kills, usage.peak)
        return self._pressure

    def step(self, step: Step) -> None:
        self.state = after(self.state, step)

    def drop(self, with_files: bool = False) -> asyncio.Task[None]:
        """Part with the sandbox at once; the task ends it. The next one is not made before that is done."""
        self.pressure()
        live, self._live = self._live, None
        making, self._making = self._making, None
        self.step(Step.GONE)
        self._dropping = asyncio.create_task(self._drop(live, making, self._dropping, with_files))
        return self._dropping

    # ---- making ------------------------------------------------------------------------------------------------------

    async def _make(self) -> Channel:
        dropping = self._dropping
        try:
            async with asyncio.timeout(START_S):
                if dropping is not None:
                    await asyncio.shield(dropping)
                return await self._revived() or await self._created()
        except TimeoutError:
            self._failed()
            raise SandboxUnavailable(words.starting_too_long(START_S)) from None
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
            self._part()
            await live.end()
            return None
        self._is_ready()
        return live.channel

    async def _created(self) -> Channel:
        self.step(Step.CLAIM)
        self._announce("starting the sandbox")
        await self._admit(self)
        spec = Spec(secrets.token_hex(6), self.workspace, self.limits)
        live = Live(await self._backend.create(spec))
        live.sandbox.assign(self.conversation, self.workspace)
        try:
            self._announce("starting Python")
            self.files = await asyncio.to_thread(files.snapshot, self.workspace)
            await live.channel.open()
        except BaseException:
            await live.end()
            raise
        self._live = live
        live.channel.tell = self._on
        self._is_ready()
        return live.channel

    def _is_ready(self) -> None:
        self.step(Step.READY)
        self._phase = ""

    def _failed(self) -> None:
        """A making of our own came to nothing. (One that is cancelled was given up by `drop`, which saw to the rest.)"""
        live = self._live
        self._part()
        if live is not None:
            self._dropping = asyncio.create_task(self._drop(live, None, self._dropping, False))

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
        elif self._making is None or self._making.done():
            self.drop()

    def _part(self) -> None:
        self.pressure()
        self._live = None
        self._phase = ""
        self.step(Step.GONE)

    async def _drop(
        self, live: Live | None, making: asyncio.Task[Channel] | None, before: asyncio.Task[None] | None, with_files: bool
    ) -> None:
        if before is not None:
            await asyncio.wait([before])
        if making is not None and not making.done():
            making.cancel()
            await asyncio.wait([making])
        if live is not None:
            live.channel.tell = _nobody
            await live.end()
        if with_files:
            await asyncio.to_thread(files.remove, self.workspace)
            self.files = files.Snapshot()


def _nobody(step: Step) -> None:
    """Nobody wants to know any more."""


def _heard(task: asyncio.Task[Channel]) -> None:
    """A failure that nobody waited for (prepare) shows when a cell runs; it is no unretrieved exception."""
    if not task.cancelled():
        task.exception()
