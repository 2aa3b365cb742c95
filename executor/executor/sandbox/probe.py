"""Whether sandboxes can be made on this machine, tried for real, and what isolates them."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from executor.sandbox.base import Limits, SandboxUnavailable, Spec
from executor.sandbox.cgroups import Place
from executor.sandbox.running import Running
from executor.wire import Feature, Health

if TYPE_CHECKING:
    from executor.sandbox.bubblewrap import Bubblewrap

NO_CGROUPS = (
    "no writable cgroups, so limits are per process: memory by RLIMIT_DATA, processes by RLIMIT_NPROC, no CPU share. "
    "As an ordinary user, start with `systemd-run --user --scope -p Delegate=yes`"
)


async def examine(backend: Bubblewrap) -> Health:
    """Makes a sandbox, and looks at its gateway's process from outside."""
    workspace = Path(tempfile.mkdtemp(prefix="codeact-check-"))
    try:
        sandbox = await backend.create(Spec(f"check-{secrets.token_hex(4)}", workspace, Limits()))
        try:
            found = features(sandbox, backend.place)
        finally:
            await sandbox.kill()
    except SandboxUnavailable as error:
        return Health(ok=False, words=str(error))
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
    off = [feature.name for feature in found if feature.state != "on"]
    words = "Sandboxes can be made." + (f" Not in force: {', '.join(off)}." if off else "")
    return Health(ok=True, words=words, features=found)


def features(sandbox: Running, place: Place | None) -> list[Feature]:
    status = process_status(sandbox.gateway_pid())
    apart = sandbox.uid is not None
    return [
        state("namespaces", len(status.get("NSpid", "").split()) > 1, "user, pid, network, ipc, mount, uts, cgroup"),
        state("system call filter", status.get("Seccomp") == "2"),
        state("no new privileges", status.get("NoNewPrivs") == "1"),
        state("no capabilities", int(status.get("CapBnd", "f"), 16) == 0),
        state("read-only root", True, "built from system programs, Python and a synthesised /etc"),
        state("no network", True, "an empty network namespace; the gateway is reached over an inherited Unix socket"),
        state("user of its own", apart, f"host uid {sandbox.uid}" if apart else "all sandboxes run as this user"),
        *limits(place),
        state("workspace size", True, "looked at every few seconds; single files by RLIMIT_FSIZE"),
    ]


def limits(place: Place | None) -> list[Feature]:
    """The cgroup limits, one by one."""
    if place is None:
        return [Feature(name=f"{name} limit", state="unavailable", detail=NO_CGROUPS) for name in ("memory", "pids", "cpu")]
    detail = f"cgroup version {place.version}"
    there = place.controllers()
    return [
        Feature(name=f"{name} limit", state="on" if name in there else "unavailable", detail=detail)
        for name in ("memory", "pids", "cpu")
    ]


def state(name: str, on: bool, detail: str = "") -> Feature:
    return Feature(name=name, state="on" if on else "off", detail=detail)


def process_status(pid: int | None) -> dict[str, str]:
    """/proc/<pid>/status as a dictionary; empty when there is no such process."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
