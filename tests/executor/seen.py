"""What the host sees of a sandbox, whichever backend made it."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from executor.sandbox import cgroups
from executor.sandbox.bubblewrap import Bubblewrap
from executor.sandbox.docker.backend import Docker
from executor.sandbox.docker.container import Container
from executor.sandbox.docker.ground import Options
from executor.sandbox.identity import runner_id
from executor.sandbox.programs import default_python
from executor.sandbox.running import Running
from tests.support.docker import containers

Any = Running | Container
AnyBackend = Bubblewrap | Docker
Maker = Callable[[Path], AnyBackend]


def maker(request: pytest.FixtureRequest) -> Maker:
    """Makes backends of the kind that is the fixture's parameter, each with the run directory it is given; whoever calls it
    closes what it makes."""
    if request.param == "bubblewrap":
        return lambda run_dir: Bubblewrap(run_dir, default_python())
    image = request.getfixturevalue("sandbox_image")
    return lambda run_dir: Docker(run_dir, Options(image))


def processes(sandbox: Any) -> list[int]:
    """Every process of the sandbox, its first included, as this host counts."""
    if isinstance(sandbox, Running):
        return [pid for pid in (sandbox.gateway_pid(), *sandbox.tenant_pids()) if pid is not None]
    assert sandbox.counters is not None
    return cgroups.members(next(iter(sandbox.counters.paths.values())))


def named(sandbox: Any, part: str) -> list[int]:
    """Those of its processes that have `part` in their command line."""
    found = []
    for pid in processes(sandbox):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if part in line:
            found.append(pid)
    return found


def gateway(sandbox: Any) -> int:
    """The gateway itself, not the container's first process, which bears its command line too."""
    *_, found = sorted(named(sandbox, "/gateway.py"))
    return found


def user(sandbox: Any) -> int | None:
    """Its user on the host; None where that is our own."""
    return sandbox.uid if isinstance(sandbox, Running) else sandbox.host_uid


def counted(backend: AnyBackend) -> bool:
    """Whether the host counts and limits what a sandbox uses."""
    return backend.place is not None if isinstance(backend, Bubblewrap) else True


def left_in(backend: AnyBackend) -> list[str]:
    """What there is in its run directory but for what is always there."""
    return sorted({path.name for path in backend.run_dir.iterdir()} - {"etc", "lock", "runner.key"})


def on_engine(backend: Docker) -> list[str]:
    """The containers of this backend, whatever became of them."""
    return containers(f"codeact.sandbox.runner={runner_id(backend.run_dir)}")


async def until(true: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.05)
