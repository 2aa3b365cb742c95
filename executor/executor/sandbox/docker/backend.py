"""Sandboxes as Docker containers: the backend that production uses.

The executor alone holds the engine's socket. On disk a sandbox is one directory in the run directory: who it is
(`sandbox.json`) and the gateway's socket. Its container's labels say the same, so that a later life of the executor finds
what this one left, and keeps or removes it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from executor.sandbox import identity, left, seccomp_json
from executor.sandbox import workspace as workspaces
from executor.sandbox.base import Sandbox, SandboxUnavailable, Spec
from executor.sandbox.disk import guard
from executor.sandbox.docker import leftover, making
from executor.sandbox.docker.body import LABEL, Kit
from executor.sandbox.docker.container import Container
from executor.sandbox.docker.engine import Engine, EngineError
from executor.sandbox.docker.facts import Facts, facts
from executor.sandbox.docker.ground import Options, ground
from executor.sandbox.docker.making import Plant
from executor.sandbox.docker.paths import Paths
from executor.sandbox.docker.probe import examine
from executor.sandbox.record import Record
from executor.sandbox.users import Users
from executor.wire import Health

log = logging.getLogger(__name__)

IDS = re.compile(r"[A-Za-z0-9_-]{1,64}")
UIDS = range(210_000, 265_000)  # user ids of sandboxes, on the host as inside
MAPPED = range(10_001, 60_000)  # inside, where the engine maps them: within the range that it has by default
RECONCILE_S = 30.0
GRACE_S = 120.0  # longer than a creation may take, its waits included


class Docker:
    """The backend `docker`. `run_dir` holds what belongs to running sandboxes and must be this executor's alone; `paths`
    says what the engine's host calls it."""

    name = "docker"

    def __init__(self, run_dir: Path, options: Options, paths: Paths | None = None) -> None:
        self.run_dir = run_dir.absolute()
        self.options = options
        self.paths = paths or Paths(Path("/"), Path("/"))
        self.facts: Facts | None = None
        self.running: dict[str, Container] = {}
        self._users = Users(UIDS)
        self._engine: Engine | None = None
        self._key = b""
        self._lock = -1
        self._preparing: asyncio.Task[Plant] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening = False

    # ---- what the contract says --------------------------------------------------------------------------------------

    async def create(self, spec: Spec) -> Container:
        if not IDS.fullmatch(spec.id):
            raise ValueError(f"not a sandbox id: {spec.id!r}")
        plant = await self.prepared()
        owner = await asyncio.to_thread(self._owner, plant, spec.workspace)
        if spec.id in self.running or (self.run_dir / spec.id).exists():
            raise SandboxUnavailable(f"A sandbox {spec.id} is there already.")
        sandbox = self.known(plant, spec, self._users.take(owner))
        await making.make(plant, sandbox)
        await self.attend(plant, sandbox)
        return sandbox

    async def adopt(self) -> list[Sandbox]:
        return list(await leftover.adopt(self, await self.prepared()))

    def give(self, workspace: Path, sandbox: Sandbox) -> None:
        if isinstance(sandbox, Container):
            making.give(workspace, sandbox.host_uid)

    async def check(self) -> Health:
        return await examine(self)

    async def close(self, keep: bool = False) -> None:
        """Also gives the run directory up."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        staying = {sandbox for sandbox in self.running.values() if keep and sandbox.conversation is not None}
        leaving = set(self.running.values()) - staying
        await asyncio.gather(*(sandbox.kill() for sandbox in leaving))
        await asyncio.gather(*(sandbox.leave() for sandbox in self.running.values()))
        if self._engine is not None:
            await self._engine.close()
        if self._lock >= 0:
            os.close(self._lock)
        self.running.clear()
        self._engine, self._preparing, self._lock, self._listening = None, None, -1, False

    # ---- for this package --------------------------------------------------------------------------------------------

    async def prepared(self) -> Plant:
        """Everything that is made once; made anew after a failure, whose cause may have been mended."""
        if self._preparing is None or (self._preparing.done() and self._preparing.exception() is not None):
            self._preparing = asyncio.create_task(self._prepare())
        return await asyncio.shield(self._preparing)

    def known(self, plant: Plant, spec: Spec, uid: int, note: Record | None = None) -> Container:
        """The sandbox as this process knows it; with `note`, one that an earlier life made. Nothing runs yet."""
        token = identity.token(self._key, spec.id, spec.generation)
        sandbox = Container(plant.engine, spec, self.run_dir / spec.id, plant.name(spec.id), token, uid, uid + plant.shift)
        if note is not None:
            self._users.take(uid)
            sandbox.conversation, sandbox.deadline = note.conversation, note.deadline
        self.running[spec.id] = sandbox
        sandbox.on_gone = lambda: self._forget(sandbox)
        return sandbox

    async def attend(self, plant: Plant, sandbox: Container) -> None:
        """Sees to a sandbox that runs: its counters, its workspace's size."""
        try:
            await making.count(plant, sandbox)
        except BaseException:
            await sandbox.kill()
            raise
        sandbox.watch(asyncio.create_task(guard(sandbox, sandbox.spec.workspace)))
        if sandbox.counters is None and not self._listening:
            self._listening = True
            self._spawn(self._listen(plant))

    # ---- plumbing ----------------------------------------------------------------------------------------------------

    async def _prepare(self) -> Plant:
        engine = self._engine = self._engine or Engine(self.options.socket)
        try:
            found = self.facts = facts(await engine.version(), await engine.info())
            image = await ground(engine, found, self.options)
        except EngineError as error:
            raise engine.unavailable(error) from error
        if self._lock < 0:
            self._lock = await asyncio.to_thread(left.lock, self.run_dir)
            self._key = await asyncio.to_thread(identity.runner_key, self.run_dir)
        if found.remapped:
            self._users = Users(MAPPED)
        apparmor = self.options.apparmor if found.apparmor else None
        kit = Kit(image, self.options.runtime, seccomp_json.text(), apparmor, identity.runner_id(self.run_dir))
        plant = Plant(engine, kit, self.run_dir, self.paths, found.remapped)
        self._spawn(self._reconcile(plant))
        return plant

    def _owner(self, plant: Plant, workspace: Path) -> int:
        """The user inside whose the workspace is now; made when missing. Blocks. Raises SandboxUnavailable."""
        try:
            directory = workspaces.open_workspace(workspace)
        except OSError as error:
            raise SandboxUnavailable(f"The workspace {workspace} cannot be opened: {error.strerror}.") from error
        try:
            return os.fstat(directory).st_uid - plant.shift
        finally:
            os.close(directory)

    def _forget(self, sandbox: Container) -> None:
        if self.running.get(sandbox.id) is sandbox:
            del self.running[sandbox.id]
            self._users.free(sandbox.uid)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reconcile(self, plant: Plant) -> None:
        while True:
            await asyncio.sleep(RECONCILE_S)
            with suppress(EngineError):  # it is away; there is a next time
                await leftover.strays(self, plant, GRACE_S)

    async def _listen(self, plant: Plant) -> None:
        """Where no cgroup can be read: the engine tells when one of our containers ran out of memory."""
        while True:
            with suppress(EngineError):
                async for event in plant.engine.events([f"{LABEL}.runner={plant.kit.runner}"], ["oom"]):
                    sandbox = self.running.get(event["Actor"]["Attributes"].get(f"{LABEL}.id", ""))
                    if sandbox is not None:
                        sandbox.out_of_memory()
            await asyncio.sleep(1.0)
