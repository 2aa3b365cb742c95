"""Keeps what this server believes about sessions true: hears from other replicas, and looks for itself now and then."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from contextlib import aclosing

from orchestrator.accounts import Keys
from orchestrator.ports import Bus, TooOld
from orchestrator.users.presence import Presence
from orchestrator.users.sessions import CHANNEL, News, Sessions

log = logging.getLogger(__name__)

LOOK_S = 15.0
"""How long at most somebody stays connected whose session ended without our hearing of it."""
TIDY_EVERY = 40
"""Looks between two times that expired rows are removed: ten minutes."""
AGAIN_S = 1.0
"""Between tries to hear while the bus is away."""


class Watch:
    """Two tasks, from `start` to `close`."""

    def __init__(self, sessions: Sessions, presence: Presence, keys: Keys, bus: Bus, clock: Callable[[], float]) -> None:
        self._sessions, self._presence, self._keys, self._bus = sessions, presence, keys, bus
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._hear()), asyncio.create_task(self._look_regularly())]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def look(self) -> None:
        """Hang up on whoever is connected with what holds no more."""
        keys = self._presence.keys()
        if keys:
            holding = await self._keys.holding(list(keys), self._clock())
            self._presence.hang_up(lambda principal: principal.session in keys and principal.session not in holding)

    async def _look_regularly(self) -> None:
        looks = 0
        while True:
            await asyncio.sleep(LOOK_S)
            looks += 1
            try:
                await self.look()
                if looks % TIDY_EVERY == 0:
                    await self._keys.tidy(self._clock())
            except Exception as error:  # the store is away: nobody signs in meanwhile either
                log.warning("sessions could not be looked through: %s", error)

    async def _hear(self) -> None:
        while True:
            try:
                await self._follow()
            except TooOld:
                pass
            except Exception as error:
                log.warning("news of sessions cannot be heard: %s", error)
                await asyncio.sleep(AGAIN_S)
            self._sessions.forget_all()  # something may have been missed

    async def _follow(self) -> None:
        cursor = await self._bus.head(CHANNEL)
        async with aclosing(self._bus.follow(CHANNEL, cursor)) as batches:
            async for batch in batches:
                for entry in batch:
                    self._sessions.heard(News(**json.loads(entry.data)))
