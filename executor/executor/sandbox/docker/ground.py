"""What must be true before the first container is made; where it is not, what to do about it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from executor.sandbox.base import Limits, SandboxUnavailable
from executor.sandbox.docker.engine import Engine, EngineError
from executor.sandbox.docker.facts import Facts, versions

NO_IMAGE = "The Docker engine has no image {image}. Build it: `deploy/docker/build-sandbox.sh`."
NO_RUNTIME = (
    "The Docker engine has no runtime {runtime!r} (CODEACT_SANDBOX_RUNTIME); it has {runtimes}. Add it to "
    "/etc/docker/daemon.json under `runtimes`, and restart the engine."
)
NO_SECCOMP = "The Docker engine was built without seccomp, so no system call could be denied. Use one that has it."
NOT_ROOT = (
    "Docker sandboxes run as users of their own, and only root can give them their files. Start the executor as root (in a "
    "container: user 0 with the capabilities CHOWN, DAC_OVERRIDE and FOWNER), or use CODEACT_SANDBOX_BACKEND=bubblewrap."
)
ROOTLESS = (
    "The Docker engine runs rootless, and its containers' users are none that this process could give files to. Use an "
    "engine that runs as root, or CODEACT_SANDBOX_BACKEND=bubblewrap."
)
TOO_OLD = "CODEACT_SANDBOX_STRICT is set, and {details}."


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator chose. `image` is a name or digest that the engine has; `apparmor` the profile for engines that
    have AppArmor; `strict` refuses versions below the known floors. `limits` are those of new sandboxes: an adopted one
    must have been made to the same (None: to whatever)."""

    image: str
    socket: Path = Path("/var/run/docker.sock")
    runtime: str = "runc"
    apparmor: str = "docker-default"
    strict: bool = False
    limits: Limits | None = None


async def ground(engine: Engine, found: Facts, options: Options) -> str:
    """The image's digest, when everything is there. Raises SandboxUnavailable with words that say what to do, or
    EngineError."""
    if os.geteuid() != 0:
        raise SandboxUnavailable(NOT_ROOT)
    refuse(found, options)
    try:
        return str((await engine.image(options.image))["Id"])
    except EngineError as error:
        if error.gone:
            raise SandboxUnavailable(NO_IMAGE.format(image=options.image)) from error
        raise


def refuse(found: Facts, options: Options) -> None:
    """Raises SandboxUnavailable where this engine cannot isolate a sandbox as it must."""
    if found.rootless:
        raise SandboxUnavailable(ROOTLESS)
    if options.runtime not in found.runtimes:
        raise SandboxUnavailable(NO_RUNTIME.format(runtime=options.runtime, runtimes=", ".join(found.runtimes)))
    if not found.seccomp:
        raise SandboxUnavailable(NO_SECCOMP)
    old = [f"{feature.name} {feature.detail}" for feature in versions(found) if feature.state == "off"]
    if options.strict and old:
        raise SandboxUnavailable(TOO_OLD.format(details="; ".join(old)))
