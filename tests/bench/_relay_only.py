"""The product without sandboxes: what a hundred conversations that run no code need is measured without a hundred kernels.

Everything else is `codeact serve` as it is. `python -m tests.bench._relay_only serve`, with CODEACT_KERNEL_URL=none://.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator

from executor import wire
from orchestrator import cli, wiring
from orchestrator.settings import Settings


class NoKernel:
    """A Kernel that never has a sandbox."""

    async def run(
        self, conversation: str, cell: str, code: str, timeout_s: float
    ) -> AsyncGenerator[wire.KernelEvent, None]:
        raise NotImplementedError("this measurement runs no code")
        yield

    async def interrupt(self, conversation: str) -> None: ...
    async def prepare(self, conversation: str) -> None: ...
    async def restart(self, conversation: str) -> None: ...
    async def remove(self, conversation: str) -> None: ...
    async def close(self) -> None: ...

    async def status(self, conversation: str) -> wire.SandboxStatus:
        raise NotImplementedError("this measurement runs no code")

    async def check(self) -> wire.Health:
        raise NotImplementedError("this measurement runs no code")


async def _none(_: str, __: Settings) -> NoKernel:
    return NoKernel()


if __name__ == "__main__":
    wiring._KERNELS["none"] = _none
    sys.exit(cli.main())
