"""A container that is a sandbox: its socket, its counters, its end."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import aiohttp

from executor.sandbox import record
from executor.sandbox.base import Limits, SandboxUnavailable, Spec, Usage
from executor.sandbox.cgroups import Counters
from executor.sandbox.docker import dial
from executor.sandbox.docker.counters import told
from executor.sandbox.docker.engine import Engine, EngineError

log = logging.getLogger(__name__)

KILL_S = 20.0  # for an engine that is away; what it still has is removed once it is back, or by the next life
PATIENCE_S = (0.1, 5.0)  # between two attempts to reach an engine that is away: the first, and the longest
STATS_S = 5.0
HOLD_S = 5.0


class Container:
    """What `executor.sandbox.base.Sandbox` asks for, by Docker. `host_uid` is its user as the host counts."""

    def __init__(self, engine: Engine, spec: Spec, directory: Path, name: str, token: str, uid: int, host_uid: int) -> None:
        self.id = spec.id
        self.spec = spec
        self.token = token
        self.conversation: str | None = None
        self.deadline = time.time() + spec.lifetime_s
        self.directory = directory
        self.gateway = directory / "gw"
        self.uid, self.host_uid = uid, host_uid
        self.workspace_used: int | None = None
        self.on_gone: Callable[[], None] = lambda: None
        self.container = name  # as the engine knows it; its id, once it was created
        self.counters: Counters | None = None
        self._oom_events = 0
        self._engine = engine
        self._usage = Usage(None, None, None)
        self._socket = -1
        self._tasks: list[asyncio.Task[None]] = []
        self._ended: asyncio.Task[str] | None = None
        self._killing: asyncio.Task[None] | None = None
        self._cause = ""

    @property
    def limits(self) -> Limits:
        return self.spec.limits

    # ---- beginning ---------------------------------------------------------------------------------------------------

    def created(self, container: str) -> None:
        self.container = container

    def started(self) -> None:
        """From now on its end is noticed."""
        self._ended = asyncio.create_task(self._until_ended())

    def hold_socket(self, fd: int) -> None:
        self._socket = fd

    def watch(self, task: asyncio.Task[None]) -> None:
        """A task that ends with the sandbox."""
        self._tasks.append(task)

    def count(self, counters: Counters | None) -> None:
        """Where its counters are; without any, the engine is asked now and then."""
        self.counters = counters
        if counters is None:
            self.watch(asyncio.create_task(self._ask_for_stats()))

    def assign(self, conversation: str, workspace: Path) -> None:
        if self.conversation is not None:
            raise RuntimeError(f"sandbox {self.id} has a conversation already")
        self.conversation, self.spec = conversation, replace(self.spec, workspace=workspace)
        record.bind(self.directory, conversation, workspace)

    # ---- while it lives ----------------------------------------------------------------------------------------------

    def dial_path(self) -> str:
        """A path that leads to the gateway's socket and to nothing else."""
        return dial.path(self._socket)

    def connector(self) -> aiohttp.BaseConnector:
        return aiohttp.UnixConnector(path=self.dial_path())

    async def refresh(self) -> None:
        """Its counters are read when they are asked for; where there are none, the engine tells of its own accord."""

    def alive(self) -> bool:
        return self._killing is None and self._ended is not None and not self._ended.done()

    def usage(self) -> Usage:
        if self.counters is not None:
            now = self.counters.usage()
            self._usage = now if now.memory is not None else self._usage  # its cgroups go with it
        return replace(self._usage, workspace=self.workspace_used)

    async def hold(self, length: int) -> None:
        """Asks the gateway to set how long the tenant's processes may make a file, in bytes."""
        with suppress(aiohttp.ClientError, OSError, SandboxUnavailable, TimeoutError):  # it ends, or will be asked again
            connector = self.connector()
            headers = {"Authorization": f"token {self.token}"}
            async with (
                asyncio.timeout(HOLD_S),
                aiohttp.ClientSession(connector=connector, headers=headers) as http,
                http.post("http://sandbox/hold", json={"length": length}) as answer,
            ):
                answer.raise_for_status()

    def out_of_memory(self) -> None:
        """The engine told that something in there was killed for memory."""
        self._oom_events += 1
        self._usage = replace(self._usage, oom_kills=self._oom_events)

    async def _ask_for_stats(self) -> None:
        while True:
            with suppress(EngineError):
                self._usage = told(await self._engine.stats(self.container), self._oom_events)
            await asyncio.sleep(STATS_S)

    # ---- ending ------------------------------------------------------------------------------------------------------

    async def wait(self) -> str:
        assert self._ended is not None
        how = await asyncio.shield(self._ended)
        return self._cause or how

    async def _until_ended(self) -> str:
        """Hears of the container's end, also when the engine restarts meanwhile."""
        patience = PATIENCE_S[0]
        while True:
            try:
                code = await self._engine.wait(self.container)
            except EngineError as error:
                if error.gone:
                    return "was removed from the engine"
                log.warning("sandbox %s: the engine is away: %s", self.id, error)
                await asyncio.sleep(patience)
                patience = min(2 * patience, PATIENCE_S[1])
            else:
                return await self._how(code)

    async def _how(self, code: int) -> str:
        out_of_memory = False
        with suppress(EngineError):
            out_of_memory = bool((await self._engine.inspect(self.container))["State"].get("OOMKilled"))
        if out_of_memory:
            self._usage = replace(self._usage, oom_kills=max(1, self._usage.oom_kills or 0))
            self.counters = None
        return f"ended by itself with status {code}" + (", out of memory" if out_of_memory else "")

    def end(self, cause: str) -> None:
        """Kills without waiting; `wait` then says `cause`. For guards; somebody still has to call `kill`."""
        if not self._cause:
            self._cause = cause
            self.watch(asyncio.create_task(self._signal()))

    async def _signal(self) -> None:
        with suppress(EngineError):
            await self._engine.kill(self.container)

    async def kill(self) -> None:
        """Waits for an engine that is away for KILL_S; beyond that the end is seen to once it is back."""
        done, _ = await asyncio.wait([self.doom()], timeout=KILL_S)
        for task in done:
            task.result()

    def doom(self) -> asyncio.Task[None]:
        """Begins its end; the task is done when nothing is left of it."""
        if self._killing is None:
            self._cause = self._cause or "was killed"
            self._killing = asyncio.create_task(self._kill())
        return self._killing

    async def _kill(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.usage()
        await removed(self._engine, self.container)
        if self._ended is not None:
            await self._ended
        self._close()
        await asyncio.to_thread(shutil.rmtree, self.directory, ignore_errors=True)
        self.on_gone()

    def _close(self) -> None:
        fd, self._socket = self._socket, -1
        if fd >= 0:
            os.close(fd)

    async def leave(self) -> None:
        """Lets go of it as it is: what lives, or could not be removed yet, is for the next life of the executor."""
        tasks = [task for task in (*self._tasks, self._ended, self._killing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._close()


async def removed(engine: Engine, container: str) -> None:
    """Until the engine has no such container: however often it has to be asked, and however long it is away."""
    patience = PATIENCE_S[0]
    while True:
        try:
            await engine.remove(container)
            return
        except EngineError as error:
            if error.gone:
                return
            log.warning("container %s cannot be removed yet: %s", container[:12], error)
        await asyncio.sleep(patience)
        patience = min(2 * patience, PATIENCE_S[1])
