"""Making one pod, step by step: record, workspace, pod, address, first answer. What fails is undone."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from executor.sandbox import record
from executor.sandbox import workspace as workspaces
from executor.sandbox.base import SandboxUnavailable
from executor.sandbox.gateway import answered_at
from executor.sandbox.kubernetes import facts
from executor.sandbox.kubernetes.body import PORT, USER, Kit, Placed, digest_of, pod_body, spec_hash
from executor.sandbox.kubernetes.cluster import Cluster, ClusterError
from executor.sandbox.kubernetes.pod import Pod
from executor.sandbox.notes import new_record

START_S = 55.0  # less than `executor.maker` waits, so that the words say what was waited for
LOOK_S = 0.05
ENDS_S = 1.0  # for the cluster to tell how a gateway ended that hung up


@dataclass(frozen=True, slots=True)
class Plant:
    """Where pods of one executor are made. `workspaces` is the directory that is the root of the kit's volume; `door` what
    no sandbox may reach (`address:port`; empty: nothing is tried)."""

    cluster: Cluster
    kit: Kit
    run_dir: Path
    workspaces: Path
    door: str

    def name(self, id: str) -> str:
        """The pod's name: no other executor in the namespace uses it."""
        return f"sandbox-{self.kit.runner}-{id}"

    def files(self, workspace: Path) -> str:
        """Where a workspace lies in the volume. Raises ValueError when it does not."""
        return str(workspace.absolute().relative_to(self.workspaces))


async def make(plant: Plant, sandbox: Pod) -> None:
    """Brings the sandbox to where its gateway answers. Raises SandboxUnavailable, with nothing left behind; when the
    cluster is away, nothing once it is back."""
    try:
        laying_out = asyncio.create_task(asyncio.to_thread(lay_out, plant, sandbox))
        try:
            await asyncio.shield(laying_out)
        except asyncio.CancelledError:
            await asyncio.wait([laying_out])  # a thread cannot be stopped, and what it makes has to be removed
            raise
        sandbox.told(await plant.cluster.create(body_of(plant, sandbox)))
        await first_answer(sandbox)
    except (ClusterError, OSError, ValueError) as error:
        if isinstance(error, ClusterError) and error.unreachable:
            sandbox.doom()
            raise plant.cluster.unavailable(error) from error
        await sandbox.kill()
        raise SandboxUnavailable(f"The sandbox's pod could not be made: {error}.") from error
    except BaseException:
        await sandbox.kill()
        raise


def lay_out(plant: Plant, sandbox: Pod) -> None:
    """The sandbox's directory with its record, before the cluster hears of it; its workspace, its user's for good."""
    spec = sandbox.spec
    hash = spec_hash(spec.limits, spec.profile, plant.kit)
    record.begin(sandbox.directory, new_record(spec, hash, time.time(), sandbox.deadline, USER))
    give(spec.workspace)
    open_way(plant.workspaces, spec.workspace.parent)


def open_way(root: Path, directory: Path) -> None:
    """Lets the node pass through the directories above a workspace: where the volume is another machine's, that machine may
    take the node's root for nobody. (Sandboxes see none of them.)"""
    for path in (root, directory) if directory.is_relative_to(root) else ():
        with suppress(PermissionError):  # the volume's own root is not ours, and open already
            path.chmod(stat.S_IMODE(path.stat().st_mode) | stat.S_IXGRP | stat.S_IXOTH)


def give(tree: Path) -> None:
    """Makes everything below `tree` the sandboxes' user's, who is this process's too unless that is root. Raises
    OSError."""
    directory = workspaces.open_workspace(tree)
    try:
        if os.geteuid() == 0:
            workspaces.give(directory, USER)
    finally:
        os.close(directory)


def body_of(plant: Plant, sandbox: Pod) -> facts.Json:
    """Raises ValueError for a workspace outside the volume."""
    place = Placed(
        name=sandbox.name,
        files=plant.files(sandbox.spec.workspace),
        digest=digest_of(sandbox.token),
        door=plant.door,
        created=time.time(),
        deadline=sandbox.deadline,
    )
    return pod_body(sandbox.spec, plant.kit, place)


async def first_answer(sandbox: Pod) -> None:
    """Until the gateway answers. Raises SandboxUnavailable when the sandbox ends first, or takes too long."""
    ended = asyncio.create_task(sandbox.wait())
    answer = asyncio.create_task(answering(sandbox))
    try:
        await asyncio.wait({ended, answer}, timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
        if answer.done() and answer.exception() is None:
            return
        if answer.done():
            await asyncio.wait({ended}, timeout=ENDS_S)
        raise SandboxUnavailable(f"The sandbox could not be started: {_cause(sandbox, ended, answer)}.")
    finally:
        for task in (ended, answer):
            task.cancel()
        await asyncio.gather(ended, answer, return_exceptions=True)


def _cause(sandbox: Pod, ended: asyncio.Task[str], answer: asyncio.Task[None]) -> str:
    if ended.done():
        how = ended.result()
        return how if how == facts.POLICY else f"it {how}"
    if answer.done():
        return str(answer.exception())
    return f"after {START_S:.0f} s {facts.waits_for(sandbox.seen)}"


async def answering(sandbox: Pod) -> None:
    """Waits for its address, then for its gateway. Raises SandboxUnavailable for what will never start, and ValueError for
    what is none of our gateways."""
    while not facts.address(sandbox.seen):
        if why := facts.stuck(sandbox.seen):
            raise SandboxUnavailable(why)
        sandbox.news.clear()
        await sandbox.news.wait()
    while True:
        try:
            await answered_at(sandbox.address(), PORT, sandbox.token)
            return
        except OSError:  # it does not listen yet, or its network is still being made
            await asyncio.sleep(LOOK_S)
