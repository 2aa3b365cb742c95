"""What an earlier life of the executor left in the cluster and in the run directory: kept, or cleared away.

A sandbox is kept when its pod runs, bears this executor's labels and the settings of today, has a conversation and time
left, and its gateway answers to the token that only this executor can derive. Everything else goes: pods, whether they have
a record or not, and directories, whether they have a pod or not.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from typing import TYPE_CHECKING

from executor.sandbox import left, record
from executor.sandbox.base import Limits, SandboxUnavailable
from executor.sandbox.gateway import answered_at
from executor.sandbox.kubernetes import facts
from executor.sandbox.kubernetes.body import LABEL, PORT, spec_hash
from executor.sandbox.kubernetes.cluster import ClusterError
from executor.sandbox.kubernetes.making import Plant
from executor.sandbox.kubernetes.pod import Pod, removed
from executor.sandbox.notes import spec_of
from executor.sandbox.record import Record

if TYPE_CHECKING:
    from executor.sandbox.kubernetes.backend import Kubernetes

log = logging.getLogger(__name__)

ANSWER_S = 10.0


async def adopt(backend: Kubernetes, plant: Plant) -> list[Pod]:
    """Raises SandboxUnavailable when the cluster cannot be asked."""
    try:
        found, _ = await plant.cluster.pods(selector(plant))
    except ClusterError as error:
        raise plant.cluster.unavailable(error) from error
    known = {sandbox.name for sandbox in backend.running.values()}
    strange = [pod for pod in found if facts.part(pod, "metadata", "name") not in known]
    kept = await asyncio.gather(*(taken(backend, plant, pod) for pod in strange))
    staying = set(backend.running)
    for directory in await asyncio.to_thread(left.sandboxes, plant.run_dir):
        if directory.name not in staying:
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
    return [sandbox for sandbox in kept if sandbox is not None]


def selector(plant: Plant) -> str:
    return f"{LABEL}/runner={plant.kit.runner}"


async def taken(backend: Kubernetes, plant: Plant, pod: facts.Json) -> Pod | None:
    """The sandbox, when it goes on living. Else the pod is removed."""
    id, name = facts.label(pod, f"{LABEL}/id"), str(facts.part(pod, "metadata", "name"))
    note = record.read(plant.run_dir / id) if id and id.replace("-", "").isalnum() else None
    reason = unfit(plant, backend.options.limits, pod, note)
    if note is not None and not reason:
        sandbox = backend.known(plant, spec_of(note), note)
        sandbox.told(pod)
        try:
            async with asyncio.timeout(ANSWER_S):
                await answered_at(sandbox.address(), PORT, sandbox.token)
            backend.attend(sandbox)
            log.info("sandbox %s of conversation %s lives on", id, note.conversation)
            return sandbox
        except (SandboxUnavailable, OSError, ValueError, TimeoutError) as error:
            log.info("sandbox %s is removed: %s", id, error)
            await sandbox.kill()
            return None
    log.info("pod %s of an earlier life is removed: %s", name, reason)
    await removed(plant.cluster, name)
    return None


def unfit(plant: Plant, limits: Limits | None, pod: facts.Json, found: Record | None) -> str:
    """Why the sandbox cannot be kept; empty when it can. Pure but for the clock."""
    if found is None:
        return "it has no record"
    try:
        spec = spec_of(found)
        today = spec_hash(limits or spec.limits, spec.profile, plant.kit)
        plant.files(spec.workspace)
    except (KeyError, TypeError, ValueError) as error:
        return f"its record says other things than those of today ({error!r})"
    if (end := facts.ended(pod)) is not None:
        return f"it {end.how}"
    if facts.part(pod, "metadata", "deletionTimestamp") is not None:
        return "its end has begun"
    if found.conversation is None:
        return "it has no conversation"
    if time.time() >= found.deadline:
        return "it is past its deadline"
    if facts.label(pod, f"{LABEL}/generation") != str(found.generation):
        return "it is of another generation"
    if not today == found.spec_hash == facts.label(pod, f"{LABEL}/spec-hash"):
        return "it was made to other settings"
    return ""


async def strays(backend: Kubernetes, plant: Plant, grace_s: float) -> None:
    """Removes pods of this executor that nobody here knows: their creation was given up while the cluster was away. Those
    younger than `grace_s` may be about to be known. Raises ClusterError."""
    found, _ = await plant.cluster.pods(selector(plant))
    for pod in found:
        young = time.time() - facts.number(facts.label(pod, f"{LABEL}/created")) < grace_s
        if not young and facts.label(pod, f"{LABEL}/id") not in backend.running:
            name = str(facts.part(pod, "metadata", "name"))
            log.warning("pod %s belongs to nobody and is removed", name)
            await plant.cluster.delete(name, 1)
