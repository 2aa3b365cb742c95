"""The answer of a kernel's check, remembered: a check makes a real sandbox, and every page that opens asks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from executor.wire import Health

WELL_FOR_S = 60.0
ILL_FOR_S = 5.0
"""How long an answer holds."""


class RememberedHealth:
    def __init__(self, ask: Callable[[], Awaitable[Health]]) -> None:
        self._ask = ask
        self._asking = asyncio.Lock()
        self._health: Health | None = None
        self._until = 0.0

    async def get(self) -> Health:
        async with self._asking:
            if self._health is None or time.monotonic() > self._until:
                self._health = await self._ask()
                self._until = time.monotonic() + (WELL_FOR_S if self._health.ok else ILL_FOR_S)
            return self._health
