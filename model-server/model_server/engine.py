"""An inference engine as a child of this process: its words are passed on and kept, and it ends with us, however we end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Callable
from types import TracebackType

from model_server.plan import Plan, environment

STOP_S = 20.0
"""For requests that run to be answered or aborted; then it is killed."""
KEPT_LINES = 400
LINE_BYTES = 1 << 20


class EngineProcess:
    """`async with EngineProcess(plan) as engine:` runs for as long as the block lasts; all its processes end with it."""

    def __init__(self, plan: Plan, tell: Callable[[str], None]) -> None:
        self.said: deque[str] = deque(maxlen=KEPT_LINES)
        self._plan, self._tell = plan, tell
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "the engine was not started"
        return self._process

    @property
    def status(self) -> int | None:
        """Of the process, once it has ended."""
        return self.process.returncode

    async def __aenter__(self) -> EngineProcess:
        command = (sys.executable, "-m", "model_server.bound", str(os.getpid()), *self._plan.command)
        self._process = await asyncio.create_subprocess_exec(
            *command, env=environment(self._plan), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT, start_new_session=True, limit=LINE_BYTES,
        )  # fmt: skip
        self._listening = asyncio.create_task(self._listen(), name="engine-log")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.returncode is None:
            self.process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_S):
                    await self.process.wait()
        with contextlib.suppress(ProcessLookupError):  # what it started is in its session
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()
        assert self._listening is not None
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)

    async def ended(self) -> int:
        """Its status, when it has ended and all it said was read."""
        status = await self.process.wait()
        assert self._listening is not None
        with contextlib.suppress(TimeoutError):  # a grandchild may hold the pipe open
            async with asyncio.timeout(2.0):
                await asyncio.shield(self._listening)
        return status

    async def _listen(self) -> None:
        assert self.process.stdout is not None
        while True:
            try:
                line = await self.process.stdout.readline()
            except ValueError:  # a line longer than any log's: thrown away
                continue
            if not line:
                return
            words = line.decode(errors="replace").rstrip()
            self.said.append(words)
            self._tell(words)
