"""What a way of making sandboxes must offer. One file beside this one per way: bubblewrap now, Docker and Kubernetes later.

A sandbox is one Jupyter kernel gateway with one kernel, started together, in its own namespaces, reached over a Unix socket
and by a token of its own. It serves one conversation and is never reused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from executor.wire import Health


@dataclass(frozen=True, slots=True)
class Limits:
    """What one sandbox may use. Sizes in bytes."""

    memory: int = 1024 * 1024**2
    data: int = 850 * 1024**2  # RLIMIT_DATA: below `memory`, so that most memory bombs end as MemoryError
    pids: int = 256
    cpus: float = 1.0
    file_size: int = 1024 * 1024**2
    tmp: int = 128 * 1024**2
    shm: int = 64 * 1024**2
    workspace: int = 1024 * 1024**2
    open_files: int = 1024


@dataclass(frozen=True, slots=True)
class Usage:
    """What a sandbox uses right now; None where this host cannot tell. `oom_kills` and `peak` (the most memory it ever
    used) only ever grow. `workspace` is the size of its files in bytes, as of some seconds ago; once above
    `Limits.workspace`, writing files fails."""

    memory: int | None
    pids: int | None
    oom_kills: int | None
    workspace: int | None = None
    peak: int | None = None


class SandboxUnavailable(Exception):
    """No sandbox could be made; the message names the cause and how to mend it."""


class Sandbox(Protocol):
    """A running sandbox whose gateway answers and whose kernel has been started."""

    id: str
    socket: Path  # of the gateway, as the executor sees it; connect only through `dial_path`
    token: str
    limits: Limits

    def dial_path(self) -> str:
        """A path that leads to the gateway's socket and to nothing else (no symlink planted by the tenant is followed).
        Raises SandboxUnavailable when what lies there is not the socket."""
        ...

    def alive(self) -> bool: ...

    def usage(self) -> Usage: ...

    async def wait(self) -> str:
        """Until the sandbox has ended; how, in words for the log."""
        ...

    async def kill(self) -> None:
        """End every process and remove all but the workspace. Idempotent."""
        ...


class Backend(Protocol):
    """Makes sandboxes."""

    name: str

    async def create(self, id: str, workspace: Path, limits: Limits) -> Sandbox:
        """A sandbox with `workspace` (made when missing) at /workspace. Raises SandboxUnavailable."""
        ...

    async def check(self) -> Health:
        """Whether sandboxes can be made here, tried for real, and which isolation features are on."""
        ...

    async def sweep(self) -> None:
        """Remove whatever an earlier life of this executor left behind: processes, cgroups, directories."""
        ...

    async def close(self) -> None:
        """End every sandbox and remove what this backend keeps beside them."""
        ...
