"""A sandbox that lives, and the channel to its kernel: they come and go together."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from executor.channel import Channel
from executor.lifecycle import Life, Reason, Step
from executor.sandbox.base import Sandbox

log = logging.getLogger(__name__)


class Live:
    """`life` is its state, which whoever holds it moves on; here it only ends. `deadline`: when it ends by itself, on
    `clock`, so that a jump of the wall's clock changes nothing."""

    def __init__(self, sandbox: Sandbox, life: Life, clock: Callable[[], float]) -> None:
        self.sandbox = sandbox
        self.life = life
        self.channel = Channel(sandbox)
        self.same = False  # its kernel is the one that the conversation had in an earlier life of the executor
        self.how = ""  # it ended, when it did so by itself
        self.deadline = clock() + sandbox.deadline - time.time()
        self._watcher = asyncio.create_task(self._watch())

    async def end(self, reason: Reason) -> None:
        """Nothing is left of it but its workspace. Idempotent."""
        self.life.kill(reason)
        self._watcher.cancel()
        try:
            await self.channel.close()
        finally:
            await self.sandbox.kill()
            self._over()

    async def leave(self) -> None:
        """Let go of it, for the next life of the executor to find."""
        self._watcher.cancel()
        self.channel.tell = lambda step: None
        await self.channel.close()

    def _over(self) -> None:
        if not self.life.over:
            self.life.step(Step.END)

    async def _watch(self) -> None:
        self.how = await self.sandbox.wait()
        log.info("sandbox %s ended: %s", self.sandbox.id, self.how)
        self.channel.give_up()
