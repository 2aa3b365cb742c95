"""The Kernel port over the executor in this process."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING

from executor.local import make_manager
from executor.manager import Manager
from executor.sandbox.base import SandboxUnavailable
from executor.wire import Health, KernelEvent, SandboxLine, SandboxStatus, Settled
from orchestrator.adapters.remembered import RememberedHealth
from orchestrator.errors import KernelUnavailable

if TYPE_CHECKING:
    from prometheus_client.registry import Collector


def create(data_dir: Path) -> LocalKernel:
    """The kernel of embedded mode: bubblewrap sandboxes, set by `CODEACT_SANDBOX_…`, workspaces below `data_dir`."""
    return LocalKernel(make_manager(data_dir))


class LocalKernel:
    """See `orchestrator.ports.Kernel`; the executor's manager keeps that contract by itself."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._health = RememberedHealth(manager.check)

    def run(self, conversation: str, cell: str, code: str, timeout_s: float) -> AsyncGenerator[KernelEvent, None]:
        return self._manager.run(conversation, cell, code, timeout_s)

    def claim(self, conversation: str) -> None:
        """Nobody else reaches this process's sandboxes."""

    async def take_over(self, conversation: str) -> bool:
        return (await self._manager.status(conversation)).holds_variables

    async def interrupt(self, conversation: str) -> None:
        await self._manager.interrupt(conversation)

    async def prepare(self, conversation: str) -> None:
        await self._manager.prepare(conversation)

    async def restart(self, conversation: str) -> None:
        try:
            await self._manager.restart(conversation)
        except SandboxUnavailable as error:
            raise KernelUnavailable(f"Python could not be restarted: {error}") from error

    async def status(self, conversation: str) -> SandboxStatus:
        return await self._manager.status(conversation)

    async def sandboxes(self) -> list[SandboxLine]:
        return self._manager.sandboxes()

    async def settle(self) -> list[Settled]:
        return self._manager.settle()

    async def end(self, conversation: str) -> None:
        await self._manager.end_sandbox(conversation)

    async def remove(self, conversation: str) -> None:
        await self._manager.remove(conversation)

    def collector(self) -> Collector:
        """What the executor counts in here."""
        from executor.metrics import Counted  # only where somebody reads it

        return Counted(self._manager.counts)

    async def check(self) -> Health:
        health = await self._health.get()
        if health.ok:
            self._manager.begin()  # somebody is there: from now on a sandbox is kept ready
        return health

    async def close(self) -> None:
        await self._manager.close()
