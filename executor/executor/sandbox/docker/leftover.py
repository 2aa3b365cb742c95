"""What an earlier life of the executor left on the engine and in the run directory: kept, or cleared away.

A sandbox is kept when its container runs, bears this executor's labels and the settings of today, has a conversation and
time left, and its gateway answers to the token that only this executor can derive. Everything else goes: containers,
whether they have a record or not, and directories, whether they have a container or not.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
from typing import TYPE_CHECKING

from executor.sandbox import record
from executor.sandbox.base import Limits, SandboxUnavailable
from executor.sandbox.docker import dial
from executor.sandbox.docker.body import LABEL, spec_hash
from executor.sandbox.docker.container import Container, removed
from executor.sandbox.docker.engine import EngineError, Listed
from executor.sandbox.docker.making import Plant
from executor.sandbox.gateway import answered
from executor.sandbox.notes import spec_of
from executor.sandbox.record import Record

if TYPE_CHECKING:
    from executor.sandbox.docker.backend import Docker

log = logging.getLogger(__name__)

ANSWER_S = 10.0


async def adopt(backend: Docker, plant: Plant) -> list[Container]:
    """Raises SandboxUnavailable when the engine cannot be asked."""
    try:
        listed = await plant.engine.containers([f"{LABEL}.runner={plant.kit.runner}"])
    except EngineError as error:
        raise plant.engine.unavailable(error) from error
    found = await asyncio.gather(*(kept(backend, plant, container) for container in listed))
    for directory in [path for path in backend.run_dir.iterdir() if path.is_dir() and path.name not in backend.running]:
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
    return [sandbox for sandbox in found if sandbox is not None]


async def kept(backend: Docker, plant: Plant, container: Listed) -> Container | None:
    """The sandbox, when it goes on living; else None, and the container is gone."""
    id = container.labels.get(f"{LABEL}.id", "")
    note = await asyncio.to_thread(record.read, backend.run_dir / id) if id else None
    reason = unfit(plant, backend.options.limits, container, note)
    if note is not None and not reason:
        sandbox = backend.known(plant, spec_of(note), int(note.facts["uid"]), note)
        sandbox.created(container.id)
        sandbox.started()
        try:
            await opened(sandbox)
            await backend.attend(plant, sandbox)
            log.info("sandbox %s of conversation %s lives on", id, note.conversation)
            return sandbox
        except (EngineError, SandboxUnavailable, OSError, ValueError, TimeoutError) as error:
            log.info("sandbox %s is removed: %s", id, error)
            await sandbox.kill()
            return None
    log.info("container %s of an earlier life is removed: %s", container.id[:12], reason)
    await removed(plant.engine, container.id)
    return None


def unfit(plant: Plant, limits: Limits | None, container: Listed, found: Record | None) -> str:
    """Why the sandbox cannot be kept; empty when it can. Pure but for the clock."""
    if found is None:
        return "it has no record"
    try:
        spec = spec_of(found)
        today = spec_hash(limits or spec.limits, spec.profile, plant.kit)
        int(found.facts["uid"])
    except (KeyError, TypeError, ValueError) as error:
        return f"its record says other things than those of today ({error!r})"
    if container.state != "running":
        return f"it is {container.state}"
    if found.conversation is None:
        return "it has no conversation"
    if time.time() >= found.deadline:
        return "it is past its deadline"
    if container.labels.get(f"{LABEL}.generation") != str(found.generation):
        return "it is of another generation"
    if not today == found.spec_hash == container.labels.get(f"{LABEL}.spec_hash"):
        return "it was made to other settings"
    return ""


async def opened(sandbox: Container) -> None:
    """Its socket, after making sure that its own gateway is behind it. Its directory has been closed to the tenant since
    before the first cell ran."""
    status = sandbox.gateway.lstat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise SandboxUnavailable("its socket's directory was open to the tenant")
    sandbox.hold_socket(dial.held(sandbox.gateway, sandbox.host_uid))
    async with asyncio.timeout(ANSWER_S):
        await answered(sandbox.dial_path(), sandbox.token)


async def strays(backend: Docker, plant: Plant, grace_s: float) -> None:
    """Removes containers of this executor that nobody here knows: their creation was given up while the engine was away.
    Those younger than `grace_s` may be about to be known. Raises EngineError."""
    for container in await plant.engine.containers([f"{LABEL}.runner={plant.kit.runner}"]):
        young = time.time() - float(container.labels.get(f"{LABEL}.created", "0")) < grace_s
        if not young and container.labels.get(f"{LABEL}.id") not in backend.running:
            log.warning("container %s belongs to nobody and is removed", container.id[:12])
            await plant.engine.remove(container.id)
