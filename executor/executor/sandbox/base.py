"""What a way of making sandboxes must offer. One package or file beside this one per way: bubblewrap, Docker, Kubernetes.

A sandbox is one Jupyter kernel gateway with one kernel, started together, in its own namespaces, reached over a Unix socket
(in a pod: over the cluster's network) and by a token of its own. It serves one conversation and is never reused. A sandbox
can be made before its conversation is known (warm); `assign` then binds it, once.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from executor.wire import Health

if TYPE_CHECKING:
    import aiohttp


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


class Profile(StrEnum):
    """How much of the world a sandbox may reach."""

    STANDARD = "standard"  # nothing
    NET = "net"  # the hosts on the operator's list, through the executor's egress proxy


@dataclass(frozen=True, slots=True)
class Spec:
    """What a sandbox is to be. `workspace` is a directory of the host, made when missing, mounted at /workspace.
    `generation` counts the sandboxes of one executor's life: with `id` it makes the token. `lifetime_s`: after that many
    seconds the sandbox ends by itself, executor or not. `egress` is the socket of its proxy (profile `net`), else None."""

    id: str
    workspace: Path
    limits: Limits = Limits()
    profile: Profile = Profile.STANDARD
    lifetime_s: float = 8 * 3600.0
    generation: int = 1
    egress: Path | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a sandbox uses right now; None where this host cannot tell. `oom_kills` and `peak` (the most memory it ever
    used) only ever grow, as does `cpu_s`, the CPU seconds it has had. `workspace` is the size of its files in bytes, as of
    some seconds ago; once above `Limits.workspace`, writing files fails."""

    memory: int | None
    pids: int | None
    oom_kills: int | None
    workspace: int | None = None
    peak: int | None = None
    cpu_s: float | None = None


class SandboxUnavailable(Exception):
    """No sandbox could be made; the message names the cause and how to mend it."""


class Sandbox(Protocol):
    """A running sandbox whose gateway answers and whose kernel has been started."""

    id: str
    spec: Spec
    conversation: str | None  # None while it is warm
    deadline: float  # seconds since the epoch, when it ends by itself
    token: str

    @property
    def limits(self) -> Limits: ...

    def connector(self) -> aiohttp.BaseConnector:
        """Leads to the gateway and to nothing else, whatever name is asked for (no symlink planted by the tenant is
        followed). Raises SandboxUnavailable when what lies there is not the gateway's."""
        ...

    def assign(self, conversation: str, workspace: Path) -> None:
        """Binds it to a conversation, and writes that into its record. `workspace` is the name its workspace now has.
        Blocks for one small file. Raises RuntimeError when it has a conversation already."""
        ...

    def alive(self) -> bool: ...

    def usage(self) -> Usage: ...

    async def refresh(self) -> None:
        """Brings `usage` up to date where that takes asking; it may take some seconds."""
        ...

    async def wait(self) -> str:
        """Until the sandbox has ended; how, in words for the log."""
        ...

    async def kill(self) -> None:
        """End every process and remove all but the workspace. Idempotent."""
        ...


class Backend(Protocol):
    """Makes sandboxes."""

    name: str

    async def create(self, spec: Spec) -> Sandbox:
        """Raises SandboxUnavailable, with nothing left behind."""
        ...

    async def adopt(self) -> list[Sandbox]:
        """What an earlier life of this executor left: the sandboxes that still live and belong to a conversation, variables
        intact. Everything else it left (dead, half made, warm, past its deadline, of other settings) is removed: processes,
        containers, cgroups, directories. Called once, before anything is created."""
        ...

    def give(self, workspace: Path, sandbox: Sandbox) -> None:
        """Makes every file below `workspace` belong to the user that `sandbox` runs as. Blocks."""
        ...

    async def check(self) -> Health:
        """Whether sandboxes can be made here, tried for real, and which isolation features are on."""
        ...

    async def close(self, keep: bool = False) -> None:
        """Give up: end every sandbox and remove what this backend keeps beside them; with `keep`, leave those that belong
        to a conversation to the next life of the executor."""
        ...
