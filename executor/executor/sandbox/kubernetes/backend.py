"""Sandboxes as Kubernetes pods: one pod each, on whichever node has room.

The executor may make, see and remove pods in one namespace, and nothing else in the cluster. On disk a sandbox is one
directory in the run directory, which says who it is (`sandbox.json`). Its pod's labels say the same, so that a later life
of the executor finds what this one left, and keeps or removes it. Its files lie in a volume that this process and the pods
share; each pod has its own workspace of it and no more.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import os
import re
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from executor.sandbox import identity, left
from executor.sandbox.base import Profile, Sandbox, SandboxUnavailable, Spec
from executor.sandbox.disk import guard
from executor.sandbox.kubernetes import leftover, making
from executor.sandbox.kubernetes.body import Kit
from executor.sandbox.kubernetes.cluster import Cluster, ClusterError
from executor.sandbox.kubernetes.door import Door
from executor.sandbox.kubernetes.ground import NO_NETWORK, Options, ground
from executor.sandbox.kubernetes.making import Plant
from executor.sandbox.kubernetes.pod import Pod
from executor.sandbox.kubernetes.probe import examine
from executor.sandbox.kubernetes.watching import follow
from executor.sandbox.record import Record
from executor.wire import Health

log = logging.getLogger(__name__)

IDS = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")  # part of a pod's name
RECONCILE_S = 30.0
GRACE_S = 120.0  # longer than a creation may take, its waits included


class Kubernetes:
    """The backend `kubernetes`. `run_dir` holds what belongs to running sandboxes and must be this executor's alone."""

    name = "kubernetes"

    def __init__(self, run_dir: Path, options: Options) -> None:
        self.run_dir = run_dir.absolute()
        self.options = options
        self.running: dict[str, Pod] = {}  # by their ids
        self.door: Door | None = None
        self._pods: dict[str, Pod] = {}  # by the cluster's names
        self._cluster: Cluster | None = None
        self._key = b""
        self._lock = -1
        self._preparing: asyncio.Task[Plant] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # ---- what the contract says --------------------------------------------------------------------------------------

    async def create(self, spec: Spec) -> Pod:
        if not IDS.fullmatch(spec.id):
            raise ValueError(f"not a sandbox id: {spec.id!r}")
        if spec.profile is not Profile.STANDARD:
            raise SandboxUnavailable(NO_NETWORK)
        plant = await self.prepared()
        if spec.id in self.running or (self.run_dir / spec.id).exists():
            raise SandboxUnavailable(f"A sandbox {spec.id} is there already.")
        sandbox = self.known(plant, spec)
        await making.make(plant, sandbox)
        self.attend(sandbox)
        return sandbox

    async def adopt(self) -> list[Sandbox]:
        return list(await leftover.adopt(self, await self.prepared()))

    def give(self, workspace: Path, sandbox: Sandbox) -> None:
        making.give(workspace)

    async def check(self) -> Health:
        return await examine(self)

    async def close(self, keep: bool = False) -> None:
        """Also gives the run directory up."""
        staying = {sandbox for sandbox in self.running.values() if keep and sandbox.conversation is not None}
        leaving = set(self.running.values()) - staying
        await asyncio.gather(*(sandbox.kill() for sandbox in leaving))
        await asyncio.gather(*(sandbox.leave() for sandbox in list(self.running.values())))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._cluster is not None:
            await self._cluster.close()
        if self.door is not None:
            await self.door.close()
        if self._lock >= 0:
            os.close(self._lock)
        self.running.clear()
        self._pods.clear()
        self._cluster, self._preparing, self.door, self._lock = None, None, None, -1

    # ---- for this package --------------------------------------------------------------------------------------------

    async def prepared(self) -> Plant:
        """Everything that is made once; made anew after a failure, whose cause may have been mended."""
        if self._preparing is None or (self._preparing.done() and self._preparing.exception() is not None):
            self._preparing = asyncio.create_task(self._prepare())
        return await asyncio.shield(self._preparing)

    def known(self, plant: Plant, spec: Spec, note: Record | None = None) -> Pod:
        """The sandbox as this process knows it; with `note`, one that an earlier life made. Nothing runs yet."""
        token = identity.token(self._key, spec.id, spec.generation)
        sandbox = Pod(plant.cluster, spec, self.run_dir / spec.id, plant.name(spec.id), token)
        if note is not None:
            sandbox.conversation, sandbox.deadline = note.conversation, note.deadline
        self.running[spec.id] = self._pods[sandbox.name] = sandbox
        sandbox.on_gone = lambda: self._forget(sandbox)
        return sandbox

    def attend(self, sandbox: Pod) -> None:
        """Sees to a sandbox that runs: its counters, its workspace's size."""
        sandbox.begin_counting()
        sandbox.watch(asyncio.create_task(guard(sandbox, sandbox.spec.workspace)))

    # ---- plumbing ----------------------------------------------------------------------------------------------------

    async def _prepare(self) -> Plant:
        options = self.options
        ground(options)
        cluster = self._cluster = self._cluster or Cluster(options.namespace, options.config)
        try:
            await cluster.version()
        except ClusterError as error:
            raise cluster.unavailable(error) from error
        if self._lock < 0:
            self._lock = await asyncio.to_thread(left.lock, self.run_dir)
            self._key = await asyncio.to_thread(identity.runner_key, self.run_dir)
        await self._open_door()
        runner = hashlib.sha256(b"runner:" + self._key).hexdigest()[:12]
        kit = Kit(
            namespace=options.namespace,
            image=options.image,
            claim=options.claim,
            account=options.account,
            runtime_class=options.runtime_class,
            nodes=options.nodes,
            users=options.users,
            runner=runner,
        )
        plant = Plant(cluster, kit, self.run_dir, options.workspaces.absolute(), options.door)
        self._spawn(follow(cluster, leftover.selector(plant), self._pods))
        self._spawn(self._reconcile(plant))
        return plant

    async def _open_door(self) -> None:
        if not self.options.door or self.door is not None:
            return
        door = Door(self.options.door)
        try:
            await door.open()
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
                log.info("%s is open already: another executor of this pod has it", door.at)
                return
            raise SandboxUnavailable(f"CODEACT_SANDBOX_KUBE_DOOR={door.at} cannot be opened: {error}.") from error
        self.door = door

    def _forget(self, sandbox: Pod) -> None:
        if self.running.get(sandbox.id) is sandbox:
            del self.running[sandbox.id]
            del self._pods[sandbox.name]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reconcile(self, plant: Plant) -> None:
        while True:
            await asyncio.sleep(RECONCILE_S)
            with suppress(ClusterError):  # it is away; there is a next time
                await leftover.strays(self, plant, GRACE_S)
