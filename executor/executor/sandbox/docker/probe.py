"""Whether sandboxes can be made by this engine, tried for real, and what isolates them."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from executor.sandbox.base import Limits, SandboxUnavailable, Spec
from executor.sandbox.docker.engine import EngineError
from executor.sandbox.docker.facts import on, options, told, versions
from executor.sandbox.docker.making import Plant
from executor.sandbox.probe import process_status
from executor.wire import Feature, Health

if TYPE_CHECKING:
    from executor.sandbox.docker.backend import Docker

Json = dict[str, Any]


async def examine(backend: Docker) -> Health:
    """Makes a sandbox, asks the engine what it made, and looks at its first process where it can be seen."""
    try:
        plant = await backend.prepared()
        workspace = Path(tempfile.mkdtemp(prefix="check-", dir=backend.run_dir))
        try:
            found = await features(backend, plant, workspace)
        finally:
            shutil.rmtree(workspace, ignore_errors=True)
    except SandboxUnavailable as error:
        known = [*versions(backend.facts), *options(backend.facts)] if backend.facts else []
        return Health(ok=False, words=str(error), features=known)
    off = [feature.name for feature in found if feature.state == "off"]
    words = "Sandboxes can be made." + (f" Not in force: {', '.join(off)}." if off else "")
    return Health(ok=True, words=words, features=found)


async def features(backend: Docker, plant: Plant, workspace: Path) -> list[Feature]:
    sandbox = await backend.create(Spec(f"check-{secrets.token_hex(4)}", workspace, Limits()))
    try:
        made, info = await plant.engine.inspect(sandbox.container), await plant.engine.info()
        seen = sandbox.counters is not None
        inside = process_status(made["State"]["Pid"]) if seen else {}
    except EngineError as error:
        raise plant.engine.unavailable(error) from error
    finally:
        await sandbox.kill()
    assert backend.facts is not None
    return [
        *versions(backend.facts),
        *options(backend.facts),
        *asked(made["HostConfig"], backend.options.runtime),
        *found_inside(inside),
        told("user of its own", True, f"user {sandbox.host_uid} of the host", ""),
        *limits(info),
        told("counters", seen, "the container's cgroups", "its cgroups cannot be seen from here: the engine is asked"),
        on("workspace size", True, "looked at every few seconds; single files by RLIMIT_FSIZE", ""),
    ]


def asked(made: Json, runtime: str) -> list[Feature]:
    """Whether the engine made what it was asked for, by those keys whose absence it would not complain of."""
    return [
        on("runtime", made["Runtime"] == runtime, runtime, f"{made['Runtime']} instead of {runtime}"),
        on("read-only root", bool(made["ReadonlyRootfs"]), "", "it can be written"),
        on("no network", made["NetworkMode"] == "none", "the gateway is reached over a Unix socket", made["NetworkMode"]),
        on("private namespaces", made["IpcMode"] == made["CgroupnsMode"] == "private", "ipc and cgroup", "some are shared"),
    ]


def found_inside(status: dict[str, str]) -> list[Feature]:
    """From /proc/<pid>/status of the container's first process; empty where that process cannot be seen."""
    return [
        state("system call filter", status, status.get("Seccomp") == "2"),
        state("no new privileges", status, status.get("NoNewPrivs") == "1"),
        state("no capabilities", status, int(status.get("CapBnd", "f"), 16) == 0),
        state("namespaces", status, len(status.get("NSpid", "").split()) > 1),
    ]


def state(name: str, status: dict[str, str], yes: bool) -> Feature:
    if not status:
        return told(name, False, "", "asked for; the process cannot be seen from here")
    return on(name, yes, "", "asked for, and not in force")


def limits(info: Json) -> list[Feature]:
    """An engine that cannot limit something makes the container all the same, and only warns."""
    detail = "the kernel or the engine's cgroup driver cannot limit it"
    return [
        on(f"{name} limit", bool(info.get(key)), "", detail)
        for name, key in (("memory", "MemoryLimit"), ("swap", "SwapLimit"), ("pids", "PidsLimit"), ("cpu", "CpuCfsQuota"))
    ]
