"""The llama.cpp server as a child of this process: started, watched, restarted when it dies, ended with us."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import sys
import time
from collections import deque
from pathlib import Path
from types import TracebackType

from model_server.catalogue import EmbeddedModel
from model_server.llama import KEY_VARIABLE

log = logging.getLogger("codeact.model")

READY_S = 300.0
STEADY_S = 60.0
BACK_OFF_S = (0.5, 1, 2, 5, 10, 30, 60)
STOP_S = 3.0


class ModelDidNotStart(Exception):
    """The message holds what the server last said."""


class LlamaChild:
    """`async with LlamaChild(model, path) as child:` the server at `child.url`, with `child.key`, for as long as the block
    lasts. Where it dies meanwhile it comes back at the same address."""

    def __init__(self, model: EmbeddedModel, path: Path, command: tuple[str, ...] | None = None) -> None:
        self.url, self.key, self.threads = "", secrets.token_urlsafe(32), 0
        self._port = 0
        self._command = command or (sys.executable, "-m", "model_server.llama", "--model", str(path))
        self._command += ("--alias", model.name, "--context", str(model.context), "--parent", str(os.getpid()))
        self._process: asyncio.subprocess.Process | None = None
        self._said: deque[str] = deque(maxlen=12)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def __aenter__(self) -> LlamaChild:
        try:
            await self._start()
        except BaseException:
            await self._end()
            raise
        self._tasks.append(asyncio.create_task(self._watch(), name="model-watch"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._end()

    async def _start(self) -> None:
        """Its own session: Ctrl-C in the terminal reaches us, and we decide when it ends."""
        self._said.clear()
        self._process = await asyncio.create_subprocess_exec(
            *self._command, "--port", str(self._port), env=os.environ | {KEY_VARIABLE: self.key},
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        listening = asyncio.create_task(self._listen(self._process), name="model-log")
        self._tasks = [task for task in self._tasks if not task.done()] + [listening]
        try:
            async with asyncio.timeout(READY_S):
                ready = await self._ready(self._process)
        except TimeoutError as error:
            raise ModelDidNotStart(f"it was not ready after {READY_S:.0f} s") from error
        self.url, self.threads = str(ready["url"]), int(str(ready["threads"]))
        self._port = int(self.url.removesuffix("/v1").rpartition(":")[2])

    async def _ready(self, process: asyncio.subprocess.Process) -> dict[str, object]:
        assert process.stdout is not None
        async for line in process.stdout:
            if line.startswith(b'{"ready"'):
                return dict(json.loads(line))
        code = await process.wait()
        await asyncio.sleep(0)  # its last words may still be on their way
        raise ModelDidNotStart("; ".join(list(self._said)[-3:]) or f"it ended with status {code} and said nothing")

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            words = line.decode(errors="replace").rstrip()
            self._said.append(words)
            log.debug("llama.cpp: %s", words)

    async def _watch(self) -> None:
        failures, since = 0, time.monotonic()
        while True:
            assert self._process is not None
            code = await self._process.wait()
            failures = 0 if time.monotonic() - since > STEADY_S else failures
            pause = BACK_OFF_S[min(failures, len(BACK_OFF_S) - 1)]
            log.warning("The model server ended (status %s); starting it again in %g s. %s", code, pause, self._last())
            await asyncio.sleep(pause)
            failures += 1
            try:
                since = time.monotonic()
                await self._start()
                log.info("The model server is back at %s", self.url)
            except (ModelDidNotStart, OSError) as error:
                log.warning("The model server did not start: %s", error)
                await self._end()

    def _last(self) -> str:
        return f"It said: {self._said[-1]}" if self._said else ""

    async def _end(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
