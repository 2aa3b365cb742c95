"""Keeps what this server knows of quotas and use true: hears of changes that another server makes, and looks for itself."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing

from orchestrator.ports import Bus, TooOld
from orchestrator.quotas.service import CHANNEL, Quotas

log = logging.getLogger(__name__)

LOOK_S = 15.0
"""How long a change may take to be heard of while the bus is away, and what sandboxes use beside cells."""
AGAIN_S = 1.0
"""Between tries to hear while the bus is away."""


class Watch:
    """Two tasks, from `start` to `close`."""

    def __init__(self, quotas: Quotas, bus: Bus) -> None:
        self._quotas = quotas
        self._bus = bus
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """The quotas are known when this returns. Raises `StoreUnavailable`."""
        await self._quotas.read()
        self._tasks = [asyncio.create_task(self._hear()), asyncio.create_task(self._look_regularly())]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _look_regularly(self) -> None:
        quotas = self._quotas
        while True:
            await asyncio.sleep(LOOK_S)
            for what, work in (("quotas could not be read anew", quotas.read), ("use could not be settled", quotas.settle)):
                try:
                    await work()
                except Exception as error:  # what was known goes on to hold, and what was used is told the next time
                    log.warning("%s: %s", what, error)

    async def _hear(self) -> None:
        while True:
            try:
                await self._follow()
            except TooOld:
                pass
            except Exception as error:  # the next look makes up for it
                log.warning("news of quotas cannot be heard: %s", error)
                await asyncio.sleep(AGAIN_S)

    async def _follow(self) -> None:
        cursor = await self._bus.head(CHANNEL)
        await self._quotas.read()  # what changed before we listened
        async with aclosing(self._bus.follow(CHANNEL, cursor)) as batches:
            async for batch in batches:
                if batch:
                    await self._quotas.read()
