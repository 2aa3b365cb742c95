"""Sandboxes that are ready before anybody asks: made like any other, with an empty directory, each for one conversation.

They are refilled in the background, one at a time and a while after the last was taken, so that the next one's start does
not slow down the first cell of the one just taken; and never while places are short.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from executor import handover
from executor.ledger import Ledger
from executor.lifecycle import Reason, State, Step
from executor.live import Live
from executor.maker import Maker, new_id
from executor.sandbox.base import SandboxUnavailable

log = logging.getLogger(__name__)

PAUSE_S = (0.5, 1.5)
BACK_OFF_S = (2.0, 120.0)
PROBE_S = 1.0  # for a warm sandbox to answer when it is taken
PREIMPORT_S = 60.0

IMPORTS = """exec('''
for name in {names!r}:
    try:
        __import__(name)
    except ImportError:
        pass
''', {{}})"""


def importing(preimport: str) -> str:
    """Code that imports the modules named with commas between, those that there are, and leaves no name behind."""
    return IMPORTS.format(names=[name.strip() for name in preimport.split(",") if name.strip()])


class Pool:
    """`room` says whether another one may be made now. Warm sandboxes are of the maker's usual profile alone."""

    def __init__(
        self, maker: Maker, ledger: Ledger, workspaces: Path, size: int, preimport: str, room: Callable[[], bool]
    ) -> None:
        self._maker = maker
        self._ledger = ledger
        self._workspaces = workspaces
        self._size = size
        self._code = importing(preimport) if preimport.strip() else ""
        self._room = room
        self._ready: list[Live] = []  # oldest first
        self._ending: set[asyncio.Task[None]] = set()
        self._wanted = asyncio.Event()
        self._filler: asyncio.Task[None] | None = None

    @property
    def depth(self) -> int:
        return len(self._ready)

    def begin(self) -> None:
        if self._size and self._filler is None:
            self._filler = asyncio.create_task(self._fill())
            self.wake()

    def wake(self) -> None:
        """Something has changed that may let another one be made."""
        if len(self._ready) < self._size:
            self._wanted.set()

    async def take(self) -> Live | None:
        """The oldest that answers; it is the caller's now, and still in the state `warm`. None when there is none."""
        while self._ready:
            live = self._ready.pop(0)
            live.channel.tell = lambda step: None
            self.wake()
            if await self._sound(live):
                return live
            log.warning("the warm sandbox %s did not answer when it was wanted", live.life.id)
            self.throw_away(live, Reason.POLICY_PROBE_FAILED)
        return None

    def give_way(self) -> bool:
        """End one to make room for a sandbox of another kind; whether there was one."""
        if not self._ready:
            return False
        self.throw_away(self._ready.pop(0), Reason.EVICTED_CAPACITY)
        return True

    def retire(self, now: float, least_s: float) -> None:
        """End those that have less than so much of their lifetime left."""
        old = [live for live in self._ready if live.deadline - now < least_s]
        for live in old:
            self._ready.remove(live)
            self.throw_away(live, Reason.MAX_LIFETIME)
        self.wake()

    def throw_away(self, live: Live, reason: Reason) -> asyncio.Task[None]:
        """Ends it; the task is done when nothing is left of it, its directory included."""
        live.channel.tell = lambda step: None
        live.life.kill(reason)
        task = asyncio.create_task(self._end(live, reason))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task

    async def close(self) -> None:
        self._size = 0
        if self._filler is not None:
            self._filler.cancel()
            await asyncio.wait([self._filler])
        while self._ready:
            self.throw_away(self._ready.pop(), Reason.RELEASED)
        if self._ending:
            await asyncio.wait(self._ending)

    # ---- making ------------------------------------------------------------------------------------------------------

    async def _fill(self) -> None:
        back_off = BACK_OFF_S[0]
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while len(self._ready) < self._size:
                await asyncio.sleep(random.uniform(*PAUSE_S))  # noqa: S311 (not a secret)
                if not self._room():
                    break
                try:
                    await self._make()
                    back_off = BACK_OFF_S[0]
                except (SandboxUnavailable, OSError) as error:
                    log.warning("no warm sandbox could be made: %s", error)
                    self._ledger.counts.starts["failed"] += 1
                    await asyncio.sleep(random.uniform(0.5, 1.0) * back_off)  # noqa: S311
                    back_off = min(back_off * 2, BACK_OFF_S[1])

    async def _make(self) -> None:
        life = self._ledger.wish(new_id())
        life.step(Step.GRANT)
        try:
            live = await self._maker.make(life, self._workspaces / handover.WARM / life.id, self._maker.profile)
        except BaseException:
            with suppress(OSError):
                handover.discard(self._workspaces, life.id)
            raise
        live.channel.tell = lambda step: self._on(live, step)
        try:
            if self._code:
                await live.channel.quietly(self._code, PREIMPORT_S)
        except BaseException:
            self.throw_away(live, Reason.CREATE_TIMEOUT)
            raise
        if live.life.state is not State.BOOTING:
            raise SandboxUnavailable("It ended before it was ready.")
        live.life.step(Step.WARMED)
        self._ready.append(live)
        self._ledger.counts.starts["warm"] += 1
        log.info("warm sandboxes: %d", len(self._ready))

    # ---- health ------------------------------------------------------------------------------------------------------

    async def _sound(self, live: Live) -> bool:
        """Whether it lives, and whoever answers over its socket is the kernel that was met when it was made."""
        if not (live.sandbox.alive() and live.channel.usable and live.life.state is State.WARM):
            return False
        return await live.channel.responds(PROBE_S)

    def _on(self, live: Live, step: Step) -> None:
        """A kernel that died while nobody used it is no good sign, whether it comes back or not."""
        if live in self._ready:
            self._ready.remove(live)
        reason = Reason.KERNEL_CRASH_LOOP
        if step is Step.GONE and not live.life.over:
            live.life.step(Step.GONE)
            reason = Reason.GATEWAY_DIED
        self.throw_away(live, reason)
        self.wake()

    async def _end(self, live: Live, reason: Reason) -> None:
        await live.end(reason)
        try:
            await asyncio.to_thread(handover.discard, self._workspaces, live.life.id)
        except OSError as error:
            log.warning("the directory of the warm sandbox %s was not removed: %s", live.life.id, error)
