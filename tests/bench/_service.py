"""The executor as a service in a process of its own, reached as the orchestrator reaches it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from executor.wire import Closed, Display, Outcome, Stream
from orchestrator.adapters.kernel_http import HttpKernel
from tests.bench.harness import ROOT
from tests.support.executor_service import end_left


class Service:
    """A running service: its URL, its process, a client of it."""

    def __init__(self, url: str, pid: int, token: str, kernel: HttpKernel, data: Path) -> None:
        self.url = url
        self.pid = pid
        self.token = token
        self.kernel = kernel
        self.data = data

    async def run(self, conversation: str, code: str) -> tuple[float, float, int]:
        """Seconds to the first output and to the end; bytes of output, what was left out for size included."""
        begun, first, size = time.perf_counter(), 0.0, 0
        async for event in self.kernel.run(conversation, "cell", code, 120):
            if isinstance(event, Stream | Display):
                first = first or time.perf_counter() - begun
                size += len(event.text) if isinstance(event, Stream) else sum(map(len, map(str, event.data.values())))
            elif isinstance(event, Closed):
                assert event.outcome is Outcome.OK, event
                size += event.dropped_bytes
        return first, time.perf_counter() - begun, size

    async def pool_depth(self) -> int:
        """Warm sandboxes that wait, as the service's own metrics tell it."""
        headers = {"Authorization": f"Bearer {self.token}"}
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}/metrics", headers=headers) as answer:
            found = re.search(r"^codeact_executor_pool_depth (\S+)$", await answer.text(), re.MULTILINE)
        return int(float(found[1])) if found else 0


@asynccontextmanager
async def service(**settings: str) -> AsyncGenerator[Service, None]:
    """`python -m executor serve` with an empty data directory; ended, with its sandboxes, afterwards."""
    token = secrets.token_hex(16)
    with tempfile.TemporaryDirectory(prefix="codeact-bench-") as made:
        own = {"CODEACT_EXECUTOR_PORT": "0", "CODEACT_EXECUTOR_TOKEN": token, "CODEACT_EXECUTOR_DATA_DIR": made}
        path = os.pathsep.join([str(ROOT / "executor"), str(ROOT)])
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "executor", "serve"),
            env={**os.environ, "PYTHONPATH": path, **own, **settings},
            cwd=made,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            url = await asyncio.wait_for(_listening(process), 30)
            kernel = HttpKernel(url, token, f"bench-{secrets.token_hex(4)}")
            try:
                yield Service(url, process.pid, token, kernel, Path(made))
            finally:
                await kernel.close()
        finally:
            await _end(process)
            await end_left(Path(made), settings)


async def _listening(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    async for line in process.stderr:
        said = json.loads(line) if line.startswith(b"{") else {}
        if said.get("message") == "listening":
            asyncio.get_running_loop().create_task(_drain(process.stderr))
            return f"http://{said['host']}:{said['port']}"
    raise RuntimeError("the executor did not start")


async def _drain(stream: asyncio.StreamReader) -> None:
    while line := await stream.readline():
        if b'"error"' in line or b"Traceback" in line:
            sys.stderr.buffer.write(line)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    await asyncio.wait_for(process.wait(), 60)
