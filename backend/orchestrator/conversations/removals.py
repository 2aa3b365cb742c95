"""Sandboxes and files of deleted conversations go too, however long the executor is away: the store remembers them."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from orchestrator.errors import KernelUnavailable, StoreUnavailable
from orchestrator.ports import Kernel, Store

log = logging.getLogger(__name__)

EVERY_S = 60.0
AT_A_TIME = 100


class Removals:
    """Removing twice does no harm, so every server may try."""

    def __init__(self, store: Store, kernel: Kernel) -> None:
        self._store = store
        self._kernel = kernel
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._regularly())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def remove(self, conversation: str) -> bool:
        """Of a conversation that has been deleted. False when that has to wait."""
        try:
            await self._kernel.remove(conversation)
            await self._store.removed(conversation)
        except (KernelUnavailable, StoreUnavailable) as error:
            log.warning("sandbox and files of the deleted conversation %s are removed later: %s", conversation, error)
            return False
        except Exception:
            log.exception("sandbox and files of the deleted conversation %s are removed later", conversation)
            return False
        return True

    async def catch_up(self) -> None:
        """What is left from before. Stops at the first that does not go: the others would not either."""
        for conversation in await self._store.removals(AT_A_TIME):
            if not await self.remove(conversation):
                return

    async def _regularly(self) -> None:
        while True:
            try:
                await self.catch_up()
            except Exception:  # the next look tries again
                log.exception("deleted conversations could not be cleared away")
            await asyncio.sleep(EVERY_S)
