"""What the kernel measurements share: a stock ipykernel and our sandboxed one, driven cell by cell in the same process."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager

from executor.local import make_manager
from executor.manager import Manager
from executor.settings import Settings
from executor.wire import Closed, Outcome, Stream
from tests.bench.harness import ROOT

SANDBOX_PYTHON = ROOT / ".venv-sandbox" / "bin" / "python"


class _Specs(KernelSpecManager):
    """The sandboxes' Python, started as anybody would."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        argv = [str(SANDBOX_PYTHON), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="stock", language="python")


class Bare:
    """A stock ipykernel over ZMQ, with jupyter_client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def run(self, code: str) -> tuple[float, float, int]:
        """Seconds to the first output and to the end (reply and idle), and bytes of text."""
        begun, first, size, idle = time.perf_counter(), 0.0, 0, False
        sent = self._client.execute(code, store_history=True)
        while not idle:
            message = await self._client.get_iopub_msg(timeout=60)
            if message["parent_header"].get("msg_id") != sent:
                continue
            if message["msg_type"] == "stream":
                first = first or time.perf_counter() - begun
                size += len(message["content"]["text"])
            elif message["msg_type"] == "display_data":
                first = first or time.perf_counter() - begun
                size += sum(len(str(value)) for value in message["content"]["data"].values())
            idle = message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"
        while (await self._client.get_shell_msg(timeout=60))["parent_header"].get("msg_id") != sent:
            pass
        return first, time.perf_counter() - begun, size


@asynccontextmanager
async def bare() -> AsyncGenerator[Bare, None]:
    manager = AsyncKernelManager(kernel_spec_manager=_Specs())
    await manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=60)
        yield Bare(client)
    finally:
        client.stop_channels()
        await manager.shutdown_kernel(now=True)


class Ours:
    """One conversation of a manager: sandbox, gateway, websocket, everything."""

    def __init__(self, manager: Manager, conversation: str = "bench") -> None:
        self.manager = manager
        self.conversation = conversation
        self.dropped = 0

    async def run(self, code: str) -> tuple[float, float, int]:
        """As `Bare.run`; bytes include those that were counted and left out, which are in `dropped` too."""
        begun, first, size = time.perf_counter(), 0.0, 0
        async for event in self.manager.run(self.conversation, "cell", code, 120):
            if isinstance(event, Stream):
                first = first or time.perf_counter() - begun
                size += len(event.text)
            elif isinstance(event, Closed):
                assert event.outcome is Outcome.OK, event
                self.dropped = event.dropped_bytes
        return first, time.perf_counter() - begun, size + self.dropped


@asynccontextmanager
async def ours(**settings: Any) -> AsyncGenerator[Ours, None]:
    data = Path(tempfile.mkdtemp(prefix="codeact-bench-"))
    manager = make_manager(data, Settings(**{"warm": 0, **settings}))
    try:
        yield Ours(manager)
    finally:
        await manager.close()
        shutil.rmtree(data, ignore_errors=True)
