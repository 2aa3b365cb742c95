"""A pod that is a sandbox: its address, its counters, its end."""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from executor.sandbox import record
from executor.sandbox.base import Limits, SandboxUnavailable, Spec, Usage
from executor.sandbox.kubernetes import facts
from executor.sandbox.kubernetes.body import PORT
from executor.sandbox.kubernetes.cluster import Cluster, ClusterError
from executor.sandbox.kubernetes.counting import counted

log = logging.getLogger(__name__)

KILL_S = 20.0  # for a cluster that is away; what it still has is removed once it is back, or by the next life
GRACE_S = 1
FORGET_S = 60.0  # without a word from its node, after which a pod is forgotten all the same
PATIENCE_S = (0.2, 5.0)
STATS_S = 5.0
ASK_S = 1.5


class Only(AbstractResolver):
    """Leads every name to one address."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        kind = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        flags = socket.AI_NUMERICHOST
        return [ResolveResult(hostname=host, host=self._address, port=PORT, family=kind, proto=0, flags=flags)]

    async def close(self) -> None:
        return


class Pod:
    """What `executor.sandbox.base.Sandbox` asks for, by Kubernetes."""

    def __init__(self, cluster: Cluster, spec: Spec, directory: Path, name: str, token: str) -> None:
        self.id = spec.id
        self.spec = spec
        self.token = token
        self.name = name
        self.conversation: str | None = None
        self.deadline = time.time() + spec.lifetime_s
        self.directory = directory
        self.workspace_used: int | None = None
        self.on_gone: Callable[[], None] = lambda: None
        self.seen: dict[str, Any] = {}  # the pod, as the cluster last told
        self.news = asyncio.Event()
        self.made = False  # the cluster knows it
        self._cluster = cluster
        self._usage = Usage(None, None, None)
        self._ended: asyncio.Future[facts.End] = asyncio.get_running_loop().create_future()
        self._gone = asyncio.Event()  # the cluster has no such pod any more
        self._http: aiohttp.ClientSession | None = None  # for what is asked beside the kernel
        self._tasks: list[asyncio.Task[None]] = []
        self._killing: asyncio.Task[None] | None = None
        self._cause = ""

    @property
    def limits(self) -> Limits:
        return self.spec.limits

    # ---- beginning ---------------------------------------------------------------------------------------------------

    def watch(self, task: asyncio.Task[None]) -> None:
        """A task that ends with the sandbox."""
        self._tasks.append(task)

    def begin_counting(self) -> None:
        self.watch(asyncio.create_task(self._count()))

    def assign(self, conversation: str, workspace: Path) -> None:
        if self.conversation is not None:
            raise RuntimeError(f"sandbox {self.id} has a conversation already")
        self.conversation, self.spec = conversation, replace(self.spec, workspace=workspace)
        record.bind(self.directory, conversation, workspace)

    # ---- what the cluster tells --------------------------------------------------------------------------------------

    def told(self, pod: dict[str, Any]) -> None:
        """How it is now."""
        self.seen, self.made = pod, True
        end = facts.ended(pod)
        if end is not None:
            self._end_known(end)
        self.news.set()

    def told_gone(self) -> None:
        self._end_known(facts.End("was removed from the cluster"))
        self._gone.set()
        self.news.set()

    def _end_known(self, end: facts.End) -> None:
        if self._ended.done():
            return
        self._ended.set_result(end)
        if end.out_of_memory:
            self._usage = replace(self._usage, oom_kills=(self._usage.oom_kills or 0) + 1)

    # ---- while it lives ----------------------------------------------------------------------------------------------

    def connector(self) -> aiohttp.BaseConnector:
        """Leads to its gateway and nowhere else: to the address that the cluster tells of this pod. Should that ever be
        another's, its token is worth nothing there."""
        return aiohttp.TCPConnector(resolver=Only(self.address()), use_dns_cache=False)

    def address(self) -> str:
        """Raises SandboxUnavailable while it has none, and when it has ended."""
        found = facts.address(self.seen)
        if not found or self._ended.done() or self._killing is not None:
            raise SandboxUnavailable("The sandbox has ended." if found else "The sandbox has no address yet.")
        return found

    def alive(self) -> bool:
        return self._killing is None and self.made and not self._ended.done()

    def usage(self) -> Usage:
        return replace(self._usage, workspace=self.workspace_used)

    async def hold(self, length: int) -> None:
        """Asks the gateway to set how long the tenant's processes may make a file, in bytes."""
        await self._ask("POST", "hold", {"length": length})

    async def refresh(self) -> None:
        """Brings `usage` up to date, as far as the gateway answers."""
        self._usage = counted(self._usage, await self._ask("GET", "usage"))

    async def _count(self) -> None:
        while True:
            await self.refresh()
            await asyncio.sleep(STATS_S)

    async def _ask(self, method: str, verb: str, body: object = None) -> Any:
        """What the gateway answers; None where it does not: it ends, or will be asked again."""
        with suppress(aiohttp.ClientError, OSError, SandboxUnavailable, TimeoutError, ValueError, RuntimeError):
            if self._http is None:
                headers = {"Authorization": f"token {self.token}"}
                self._http = aiohttp.ClientSession(connector=self.connector(), headers=headers)
            async with asyncio.timeout(ASK_S), self._http.request(method, f"http://sandbox/{verb}", json=body) as answer:
                answer.raise_for_status()
                return await answer.json() if method == "GET" else None
        return None

    # ---- ending ------------------------------------------------------------------------------------------------------

    async def wait(self) -> str:
        end = await asyncio.shield(self._ended)
        return self._cause or end.how

    def end(self, cause: str) -> None:
        """Kills without waiting; `wait` then says `cause`. For guards; somebody still has to call `kill`."""
        if not self._cause:
            self._cause = cause
            self.watch(asyncio.create_task(self._begin_end()))

    async def _begin_end(self) -> None:
        with suppress(ClusterError):
            await self._cluster.delete(self.name, GRACE_S)

    async def kill(self) -> None:
        """Waits for a cluster that is away for KILL_S; beyond that the end is seen to once it is back."""
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
        await self._hang_up()
        await removed(self._cluster, self.name, self._gone)
        self.told_gone()
        await asyncio.to_thread(shutil.rmtree, self.directory, ignore_errors=True)
        self.on_gone()

    async def leave(self) -> None:
        """Lets go of it as it is: what lives, or could not be removed yet, is for the next life of the executor."""
        tasks = [task for task in (*self._tasks, self._killing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._hang_up()

    async def _hang_up(self) -> None:
        http, self._http = self._http, None
        if http is not None:
            await http.close()


async def removed(cluster: Cluster, name: str, gone: asyncio.Event | None = None) -> None:
    """Until the cluster has no such pod: however often it has to be asked, and however long it is away. `gone` is set by
    who hears of it."""
    patience, began = PATIENCE_S[0], time.monotonic()
    heard = gone or asyncio.Event()
    while not heard.is_set():
        try:
            await cluster.delete(name, 0 if time.monotonic() - began > FORGET_S else GRACE_S)
        except ClusterError as error:
            if error.gone:
                return
            log.warning("pod %s cannot be removed yet: %s", name, error)
        with suppress(TimeoutError):
            await asyncio.wait_for(heard.wait(), patience)
        patience = min(2 * patience, PATIENCE_S[1])
