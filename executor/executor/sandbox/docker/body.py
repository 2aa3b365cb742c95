"""What the engine is asked to create for one sandbox. Pure: the same arguments give the same body, byte for byte.

Every key that may appear is written here and nowhere else (a test fails on any other), and the only strings that come from
outside are the sandbox's checked id and the paths of this executor's own directories. Nothing that a tenant or a caller
says reaches the engine.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from executor.sandbox import argv
from executor.sandbox.base import Limits, Profile, Spec

LABEL = "codeact.sandbox"
GATEWAY = "/run/gw"  # the gateway's socket, and until it has been read its settings
PYTHON = Path("/opt/venv/bin/python")  # in the image
RUN_SIZE = 8 * 1024**2
TMP_INODES = "16k"
HIDDEN = Path("/nonexistent")  # stands for every path in a spec's hash

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kit:
    """What every container of one executor is made with. `image` is the image's own digest, never a tag that can move;
    `seccomp` the profile's JSON text; `apparmor` a profile's name, None where the engine has no AppArmor; `runner` tells
    this executor's containers from another's on the same engine."""

    image: str
    runtime: str
    seccomp: str
    apparmor: str | None
    runner: str


@dataclass(frozen=True, slots=True)
class Placed:
    """What differs from one sandbox to the next. `uid` is its user, inside; paths are those that the engine sees."""

    uid: int
    gateway: Path
    workspace: Path
    egress: Path | None
    created: float
    deadline: float


def create_body(spec: Spec, kit: Kit, at: Placed) -> Json:
    return {
        "Image": kit.image,
        "User": f"{at.uid}:{at.uid}",
        "Env": [f"{name}={value}" for name, value in sorted(argv.environment(PYTHON, spec.limits, spec.egress).items())],
        "Entrypoint": [str(PYTHON), f"{argv.BOOTSTRAP}/gateway.py", f"{GATEWAY}/gateway.json"],
        "Cmd": None,
        "WorkingDir": argv.WORKSPACE,
        "Tty": False,
        "OpenStdin": False,
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "NetworkDisabled": True,
        "Hostname": "sandbox",
        "StopSignal": "SIGKILL",
        "StopTimeout": 1,
        "Labels": labels(spec, kit, at),
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {**limited(spec.limits), **isolated(kit), **mounted(spec.limits, at)},
    }


def labels(spec: Spec, kit: Kit, at: Placed) -> dict[str, str]:
    """Who the container is, for an executor that has forgotten it."""
    return {
        f"{LABEL}.id": spec.id,
        f"{LABEL}.generation": str(spec.generation),
        f"{LABEL}.profile": str(spec.profile),
        f"{LABEL}.runner": kit.runner,
        f"{LABEL}.created": str(int(at.created)),
        f"{LABEL}.deadline": str(int(at.deadline)),
        f"{LABEL}.spec_hash": spec_hash(spec.limits, spec.profile, kit),
    }


def limited(limits: Limits) -> Json:
    return {
        "Memory": limits.memory,
        "MemorySwap": limits.memory,  # both together: no swap
        "NanoCpus": round(limits.cpus * 1e9),
        "CpuShares": 512,  # half of what the host's own services weigh
        "PidsLimit": limits.pids,
        "OomScoreAdj": 500,
        "OomKillDisable": False,
        "Ulimits": [
            {"Name": name, "Soft": value, "Hard": value}
            for name, value in (
                ("core", 0),
                ("fsize", limits.file_size),
                ("nofile", limits.open_files),
                ("nproc", limits.pids),
            )
        ],
        "ShmSize": limits.shm,
        # One file cannot be compressed, and the engine refuses a body that does not say so.
        "LogConfig": {"Type": "local", "Config": {"max-size": "1m", "max-file": "1", "compress": "false"}},
    }


def isolated(kit: Kit) -> Json:
    options = ["no-new-privileges:true", f"seccomp={kit.seccomp}"]
    if kit.apparmor is not None:
        options.append(f"apparmor={kit.apparmor}")
    return {
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "CapAdd": [],
        "Privileged": False,
        "SecurityOpt": options,
        "Runtime": kit.runtime,
        "NetworkMode": "none",
        "IpcMode": "private",
        "PidMode": "",
        "UTSMode": "",
        "UsernsMode": "",
        "CgroupnsMode": "private",
        "Devices": [],
        "DeviceRequests": [],
        "PublishAllPorts": False,
        "PortBindings": {},
        "ExtraHosts": [],
        "Dns": [],
        "VolumesFrom": [],
        "Binds": [],
        "GroupAdd": [],
        "Sysctls": {},
        "Init": True,  # reaps what the tenant's processes leave
        "AutoRemove": False,  # how it ended is asked first
        "RestartPolicy": {"Name": "no"},
    }


def mounted(limits: Limits, at: Placed) -> Json:
    """All that can be written: two small tmpfs, /dev/shm (`ShmSize`), and the workspace. The gateway's directory can be
    written until the gateway answers; then its owner is changed outside."""
    safe = "rw,nosuid,nodev,noexec"
    mounts = [bind(at.gateway, GATEWAY), bind(at.workspace, argv.WORKSPACE)]
    if at.egress is not None:
        mounts.append(bind(at.egress.parent, argv.EGRESS, read_only=True))
    return {
        "Tmpfs": {
            argv.TMP: f"{safe},size={limits.tmp},nr_inodes={TMP_INODES},mode=1777",
            "/run": f"{safe},size={RUN_SIZE},mode=0755,uid={at.uid},gid={at.uid}",
        },
        "Mounts": mounts,
    }


def bind(source: Path, target: str, read_only: bool = False) -> Json:
    return {
        "Type": "bind",
        "Source": str(source),
        "Target": target,
        "ReadOnly": read_only,
        "BindOptions": {"Propagation": "rprivate"},
    }


def spec_hash(limits: Limits, profile: Profile, kit: Kit) -> str:
    """Tells sandboxes that were made to other settings, or of another image, from those made now."""
    mounts = mounted(limits, Placed(0, HIDDEN, HIDDEN, None, 0, 0))
    environment = argv.environment(PYTHON, limits, None)
    parts = asdict(limits), profile, kit.image, limited(limits), isolated(kit), mounts, environment
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
