"""The Kernel port over the executor in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from pathlib import Path

from executor.local import make_manager
from executor.manager import Manager
from executor.wire import Health, KernelEvent, SandboxStatus

WELL_FOR_S = 60.0
ILL_FOR_S = 5.0
"""How long the answer of a check holds: a check makes a real sandbox, and every page that opens asks."""


def create(data_dir: Path) -> LocalKernel:
    """The kernel of embedded mode: bubblewrap sandboxes, set by `CODEACT_SANDBOX_…`, workspaces below `data_dir`."""
    return LocalKernel(make_manager(data_dir))


class LocalKernel:
    """See `orchestrator.ports.Kernel`; the executor's manager keeps that contract by itself."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._checking = asyncio.Lock()
        self._health: Health | None = None
        self._health_until = 0.0

    def run(self, conversation: str, cell: str, code: str, timeout_s: float) -> AsyncGenerator[KernelEvent, None]:
        return self._manager.run(conversation, cell, code, timeout_s)

    async def interrupt(self, conversation: str) -> None:
        await self._manager.interrupt(conversation)

    async def prepare(self, conversation: str) -> None:
        await self._manager.prepare(conversation)

    async def restart(self, conversation: str) -> None:
        await self._manager.restart(conversation)

    async def status(self, conversation: str) -> SandboxStatus:
        return await self._manager.status(conversation)

    async def remove(self, conversation: str) -> None:
        await self._manager.remove(conversation)

    async def check(self) -> Health:
        async with self._checking:
            if self._health is None or time.monotonic() > self._health_until:
                self._health = await self._manager.check()
                self._health_until = time.monotonic() + (WELL_FOR_S if self._health.ok else ILL_FOR_S)
            return self._health

    async def close(self) -> None:
        await self._manager.close()
