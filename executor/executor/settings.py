"""Every setting of the executor, and the only place here that reads the environment."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from executor.egress.rules import INDEXES, entries
from executor.sandbox.base import Limits, Profile

MB = 1024**2
ROOT = Path(__file__).resolve().parents[2]


class Settings(BaseSettings):
    """`CODEACT_SANDBOX_…` in the environment, or in a `.env` file in the working directory."""

    model_config = SettingsConfigDict(
        env_prefix="CODEACT_SANDBOX_", env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    # what sandboxes are made with
    backend: Literal["bubblewrap", "docker", "kubernetes"] = "bubblewrap"
    image: str = ""  # docker: a name or digest that the engine has; empty: the one made of this version's executor/image/;
    # kubernetes: what the nodes fetch, always to be given
    runtime: Literal["runc", "runsc"] = "runc"  # docker: runsc is gVisor, where the engine has it
    apparmor: str = "docker-default"  # docker: the profile, on machines that have AppArmor
    docker_socket: Path = Path("/var/run/docker.sock")
    host_data_dir: Path | None = None  # docker: what the engine's machine calls the data directory, if not as we do
    strict: bool = False  # docker: refuse an engine or runc with known holes, instead of telling

    # kubernetes: where pods are made and how (deploy/kubernetes sets what has to be set)
    kube_namespace: str = "codeact-sandboxes"
    kube_config: Path | None = None  # a kubeconfig file; empty: the pod's own ServiceAccount
    kube_claim: str = "codeact-workspaces"  # the PersistentVolumeClaim mounted at <data directory>/workspaces
    kube_claim_dir: Path | None = None  # where this process has that volume, if not there
    kube_account: str = "codeact-sandbox"  # the ServiceAccount of sandboxes, which may do nothing
    kube_runtime_class: str = ""  # gvisor, kata, …
    kube_nodes: str = ""  # name=value: the label, and the taint, of the nodes for sandboxes
    kube_users: bool = False  # user namespaces for pods, where the nodes and the volume can
    kube_door: str = ""  # address:port of this executor that no sandbox must reach, tried at every start of one

    # what one sandbox may use
    memory_mb: Annotated[int, Field(ge=256)] = 1024
    pids: Annotated[int, Field(ge=64)] = 256  # processes and threads
    cpus: Annotated[float, Field(gt=0)] = 1.0

    # how many, and for how long
    max: Annotated[int, Field(ge=1)] = 8  # sandboxes at a time
    per_tenant: Annotated[int, Field(ge=0)] = 0  # sandboxes of one tenant at a time; 0: as many as there may be at all
    queue_s: Annotated[float, Field(ge=0)] = 10.0  # the longest to wait for one when all are in use
    idle_minutes: Annotated[float, Field(gt=0)] = 60.0  # without a cell, after which a sandbox is removed; files stay
    lifetime_hours: Annotated[float, Field(gt=0)] = 8.0  # after which a sandbox is removed as soon as no cell runs
    grace_minutes: Annotated[float, Field(gt=0)] = 15.0  # after that, for a cell that still runs

    drain_s: Annotated[float, Field(ge=0)] = 10.0  # for cells to end by themselves before the service does

    # how many are kept ready for new conversations, and the modules they have imported by then (with commas between)
    warm: Annotated[int, Field(ge=0)] = 1
    preimport: str = "numpy,pandas,matplotlib.pyplot"

    # the network: what a conversation gets that asks for nothing, and what `net` may reach (see .env.example)
    profile: Profile = Profile.STANDARD
    egress_allow: str = ""  # hosts, comma separated; empty: the package indexes of this machine's pip
    egress_private: str = ""  # hosts whose private addresses are meant

    # the interpreter that sandboxes run; empty: the one that `make run` sets up
    python: Path = Field(default_factory=lambda: ROOT / ".venv-sandbox" / "bin" / "python")

    # how much of one cell's output is handed on; the end of a longer text is kept too
    output_mb: Annotated[float, Field(gt=0)] = 8.0

    @field_validator("egress_allow", "egress_private")
    @classmethod
    def _hosts(cls, text: str) -> str:
        """Raises ValueError for what is no list of hosts."""
        entries(",".join(word for word in text.split(",") if word.strip() != INDEXES))
        return text

    @property
    def hard_lifetime_s(self) -> float:
        """Seconds after which a sandbox ends whatever runs in it."""
        return self.lifetime_hours * 3600 + self.grace_minutes * 60

    def limits(self) -> Limits:
        """RLIMIT_DATA lies below the memory limit, so that most memory bombs end as a MemoryError that Python survives."""
        memory = self.memory_mb * MB
        return Limits(memory=memory, data=int(memory * 0.83), pids=self.pids, cpus=self.cpus)


class ServiceSettings(BaseSettings):
    """`CODEACT_EXECUTOR_…`: the executor as a service of its own (`python -m executor serve`)."""

    model_config = SettingsConfigDict(
        env_prefix="CODEACT_EXECUTOR_", env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True,
        populate_by_name=True,
    )  # fmt: skip

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8100
    token: SecretStr = SecretStr("")  # what callers must show; 16 characters at least
    token_file: Path | None = None  # a file that holds it, in its place
    data_dir: Path = Path("/var/lib/codeact")  # workspaces, leases, audit
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    otlp_endpoint: str = Field("", validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT")  # where traces go; empty: nowhere

    def service_token(self) -> str:
        """Raises ValueError, with the next step, when there is none or it is short."""
        token = self.token_file.read_text().strip() if self.token_file else self.token.get_secret_value()
        if len(token) < 16:
            raise ValueError(
                "CODEACT_EXECUTOR_TOKEN (or the file CODEACT_EXECUTOR_TOKEN_FILE) must hold a secret of 16 characters or "
                "more that the orchestrator knows too: `openssl rand -hex 32` makes one."
            )
        return token


def run_dir(data_dir: Path) -> Path:
    """A directory for the sockets of the executor that owns `data_dir`, closed to other users. It is short, because a
    Unix socket's path holds 107 bytes at most. Raises PermissionError when somebody else has prepared it."""
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
    usable = len(str(runtime)) < 40 and runtime.is_dir() and runtime.stat().st_uid == os.getuid()
    base = runtime / "codeact" if usable else Path(f"/tmp/codeact-{os.getuid()}")  # noqa: S108 (checked below)
    base.mkdir(mode=0o700, exist_ok=True)
    info = base.lstat()
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o077:
        raise PermissionError(f"{base} belongs to somebody else or is open to others. Remove it and start again.")
    path = base / hashlib.sha256(os.fsencode(data_dir.absolute())).hexdigest()[:10]
    path.mkdir(mode=0o700, exist_ok=True)
    return path
