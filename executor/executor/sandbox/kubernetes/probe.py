"""Whether pods can be made in this cluster, tried for real, and what isolates them."""

from __future__ import annotations

import secrets
import shutil
from typing import TYPE_CHECKING

from executor import handover
from executor.sandbox.base import Limits, SandboxUnavailable, Spec
from executor.sandbox.docker.facts import on, told
from executor.sandbox.kubernetes import facts
from executor.sandbox.kubernetes.cluster import ClusterError
from executor.wire import Feature, Health

if TYPE_CHECKING:
    from executor.sandbox.kubernetes.backend import Kubernetes
    from executor.sandbox.kubernetes.pod import Pod

OLDEST = (1, 25)  # Pod Security Standards are there for good from here on


async def examine(backend: Kubernetes) -> Health:
    """Makes a sandbox, and looks at what the cluster made of it: admission may have changed what was asked for."""
    known: list[Feature] = []
    try:
        plant = await backend.prepared()
        known = [version(await plant.cluster.version())]
        workspace = plant.workspaces / handover.WARM / f"check-{secrets.token_hex(4)}"
        sandbox = await backend.create(Spec(workspace.name, workspace, Limits()))
        try:
            await sandbox.refresh()
            found = [*known, *asked(sandbox, backend)]
        finally:
            await sandbox.kill()
            shutil.rmtree(workspace, ignore_errors=True)
    except SandboxUnavailable as error:
        return Health(ok=False, words=str(error), features=known)
    except ClusterError as error:
        return Health(ok=False, words=f"The cluster does not answer: {error}.", features=known)
    off = [feature.name for feature in found if feature.state == "off"]
    words = "Sandboxes can be made." + (f" Not in force: {', '.join(off)}." if off else "")
    return Health(ok=True, words=words, features=found)


def version(text: str) -> Feature:
    number = facts.version(text)
    good = number is not None and number >= OLDEST
    return on("Kubernetes", good, text, f"{text}; the oldest that knows Pod Security Standards is 1.25")


def asked(sandbox: Pod, backend: Kubernetes) -> list[Feature]:
    """Whether the cluster made what it was asked for."""
    spec, knocks = facts.part(sandbox.seen, "spec"), backend.door.knocks if backend.door is not None else 0
    [container] = facts.part(spec, "containers")
    secured, runtime = facts.part(container, "securityContext"), facts.part(spec, "runtimeClassName") or ""
    usage = sandbox.usage()
    return [
        told("runtime class", bool(runtime), runtime, "the cluster's own (gVisor: CODEACT_SANDBOX_KUBE_RUNTIME_CLASS)"),
        on("read-only root", facts.part(secured, "readOnlyRootFilesystem") is True, "", "it can be written"),
        on("no capabilities", facts.part(secured, "capabilities", "drop") == ["ALL"], "", "some are kept"),
        on("no new privileges", facts.part(secured, "allowPrivilegeEscalation") is False, "", "they can be had"),
        on("system call filter", True, "put on by the gateway, above the runtime's own", ""),
        on("no account", facts.part(spec, "automountServiceAccountToken") is False, "", "the cluster gives it one"),
        told("user namespace", facts.part(spec, "hostUsers") is False, "", "off (CODEACT_SANDBOX_KUBE_USERS)"),
        told(
            "no network",
            bool(backend.options.door) and not knocks,
            f"a sandbox has tried to reach {backend.options.door}, in vain",
            "the cluster was slow to close it" if knocks else "not tried: CODEACT_SANDBOX_KUBE_DOOR is not set",
        ),
        told("pids limit", backend.options.users, "from inside", "the kubelet's podPidsLimit: set it on the nodes"),
        told("counters", usage.memory is not None, "told by the gateway", "its cgroups are not mounted in its pod"),
        on("workspace size", True, "looked at every few seconds; single files by RLIMIT_FSIZE", ""),
    ]
