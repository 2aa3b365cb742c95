"""What must be true before the first pod is made; where it is not, what to do about it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from executor.sandbox.base import Limits, SandboxUnavailable
from executor.sandbox.kubernetes.body import USER

NO_IMAGE = (
    "The cluster's nodes must be able to fetch the sandbox image: push what deploy/docker/build-sandbox.sh makes to your "
    "registry, and name it with CODEACT_SANDBOX_IMAGE (best by its digest)."
)
WRONG_USER = (
    "Sandboxes in pods run as user {wanted}, and so must this executor, which is user {user}: otherwise neither could "
    "use the other's files. Set `runAsUser: {wanted}` (deploy/kubernetes/base/sandboxes has it)."
)
NO_NETWORK = (
    "Sandboxes in pods have no network yet: the profile `net` leads through a socket that another node does not have. Use "
    "CODEACT_SANDBOX_PROFILE=standard, or put the packages that are needed into the sandbox image."
)


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator chose; see `executor.settings`. `workspaces` is where this process has the volume of the claim.
    `limits` are those of new sandboxes: an adopted one must have been made to the same (None: to whatever)."""

    image: str
    workspaces: Path
    namespace: str = "codeact-sandboxes"
    config: Path | None = None
    claim: str = "codeact-workspaces"
    account: str = "codeact-sandbox"
    runtime_class: str = ""
    nodes: str = ""
    users: bool = False
    door: str = ""
    limits: Limits | None = None


def ground(options: Options) -> None:
    """Raises SandboxUnavailable with words that say what to do."""
    if not options.image:
        raise SandboxUnavailable(NO_IMAGE)
    if os.geteuid() not in (0, USER):
        raise SandboxUnavailable(WRONG_USER.format(wanted=USER, user=os.geteuid()))
