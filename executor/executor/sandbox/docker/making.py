"""Making one container, step by step: record, directory, container, start, socket, first answer. What fails is undone."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.sandbox import record
from executor.sandbox import workspace as workspaces
from executor.sandbox.base import SandboxUnavailable
from executor.sandbox.docker import counters, dial
from executor.sandbox.docker.body import GATEWAY, Kit, Placed, create_body, spec_hash
from executor.sandbox.docker.container import Container
from executor.sandbox.docker.engine import Engine, EngineError
from executor.sandbox.docker.paths import Paths
from executor.sandbox.gateway import answered
from executor.sandbox.notes import new_record

START_S = 60.0
LOOK_S = 0.02
NOT_SEEN = (
    " The engine's machine does not have this directory: where the executor runs in a container, "
    "CODEACT_SANDBOX_HOST_DATA_DIR must say what the machine calls the data directory."
)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plant:
    """Where containers of one executor are made. `shift` is what the engine adds to a user id inside to get the host's."""

    engine: Engine
    kit: Kit
    run_dir: Path
    paths: Paths
    shift: int

    def name(self, id: str) -> str:
        """The container's name: no other executor on the engine uses it."""
        return f"codeact-{self.kit.runner}-{id}"


async def make(plant: Plant, sandbox: Container) -> None:
    """Brings the sandbox to where its gateway answers. Raises SandboxUnavailable, with nothing left behind; when the engine
    is away, nothing once it is back."""
    try:
        await whole(asyncio.to_thread(lay_out, plant, sandbox))
        await start(plant, sandbox)
        await first_answer(sandbox)
    except (EngineError, OSError, ValueError) as error:
        if isinstance(error, EngineError) and error.unreachable:
            sandbox.doom()
        else:
            await sandbox.kill()
        raise refused(plant, error) from error
    except BaseException:
        await sandbox.kill()
        raise


async def whole(work: Coroutine[Any, Any, None]) -> None:
    """Does `work` to its end also when cancelled meanwhile: neither a thread nor the engine can be stopped, and what they
    make has to be known, to be removed."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def refused(plant: Plant, error: Exception) -> SandboxUnavailable:
    if isinstance(error, EngineError) and error.unreachable:
        return plant.engine.unavailable(error)
    hint = NOT_SEEN if "bind source path does not exist" in str(error) else ""
    return SandboxUnavailable(f"The sandbox's container could not be made: {error}.{hint}")


def lay_out(plant: Plant, sandbox: Container) -> None:
    """The sandbox's directory, with its record before anything else; the directory in there that the gateway makes its
    socket in, with its settings: its own until it answers; its workspace, its own for good."""
    spec = sandbox.spec
    hash = spec_hash(spec.limits, spec.profile, plant.kit)
    record.begin(sandbox.directory, new_record(spec, hash, time.time(), sandbox.deadline, sandbox.uid))
    give(spec.workspace, sandbox.host_uid)
    sandbox.gateway.mkdir(mode=0o700)
    file = sandbox.gateway / "gateway.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps(settings(sandbox)))
    for path in (file, sandbox.gateway):
        os.chown(path, sandbox.host_uid, sandbox.host_uid)


def give(tree: Path, uid: int) -> None:
    """Makes everything below `tree` the host user's. Raises OSError."""
    directory = workspaces.open_workspace(tree)
    try:
        workspaces.give(directory, uid)
    finally:
        os.close(directory)


def settings(sandbox: Container) -> Json:
    """What `executor/image/gateway.py` reads."""
    limits = sandbox.limits
    return {
        "token": sandbox.token,
        "listen": f"{GATEWAY}/{dial.SOCKET}",
        "data": limits.data,
        "file_size": limits.file_size,
        "open_files": limits.open_files,
        "pids": limits.pids,
        "deadline_s": max(1.0, sandbox.deadline - time.time()),
    }


def placed(plant: Plant, sandbox: Container, now: float) -> Placed:
    spec, host = sandbox.spec, plant.paths.host
    return Placed(
        uid=sandbox.uid,
        gateway=host(sandbox.gateway),
        workspace=host(spec.workspace),
        egress=None if spec.egress is None else host(spec.egress),
        created=now,
        deadline=sandbox.deadline,
    )


async def start(plant: Plant, sandbox: Container) -> None:
    body = create_body(sandbox.spec, plant.kit, placed(plant, sandbox, time.time()))

    async def create() -> None:
        sandbox.created(await plant.engine.create(plant.name(sandbox.id), body))

    await whole(create())
    await plant.engine.start(sandbox.container)
    sandbox.started()


async def first_answer(sandbox: Container) -> None:
    """Until the gateway answers; then its directory is closed to the tenant. Raises SandboxUnavailable when the sandbox
    ends first, or takes too long."""
    ended = asyncio.create_task(sandbox.wait())
    answer = asyncio.create_task(answering(sandbox))
    try:
        await asyncio.wait({ended, answer}, timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            cause = f"it {ended.result()}" if ended.done() else f"its gateway did not answer within {START_S:.0f} s"
            raise SandboxUnavailable(f"The sandbox could not be started: {cause}.")
        answer.result()
        dial.close_to_tenant(sandbox.gateway)
    finally:
        for task in (ended, answer):
            task.cancel()
        await asyncio.gather(ended, answer, return_exceptions=True)


async def answering(sandbox: Container) -> None:
    """Finds the socket once the gateway has made it, and asks it something."""
    while True:
        try:
            sandbox.hold_socket(dial.held(sandbox.gateway, sandbox.host_uid))
            break
        except FileNotFoundError:
            await asyncio.sleep(LOOK_S)
    while True:
        try:
            await answered(sandbox.dial_path(), sandbox.token)
            return
        except ConnectionRefusedError:  # bound, and about to listen
            await asyncio.sleep(LOOK_S)


async def count(plant: Plant, sandbox: Container) -> None:
    """Finds where the running container's counters are. Raises EngineError."""
    pid = int((await plant.engine.inspect(sandbox.container))["State"]["Pid"])
    sandbox.count(counters.visible(pid, sandbox.container))
