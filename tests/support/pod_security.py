"""The golden policy: what every container that we ask a cluster for must say of itself, and what no pod may ask for.

It is Kubernetes' Pod Security Standard "restricted", and then some: a read-only root and limits. Used on every pod of the
rendered manifests, and by the API server stand-in on every sandbox, so that the two cannot drift apart.
"""

from __future__ import annotations

from typing import Any

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
HOST = ("hostNetwork", "hostPID", "hostIPC")


def complaints(spec: dict[str, Any], writable: tuple[str, ...] = ()) -> list[str]:
    """What is wrong with a pod's `spec`. `writable` names containers whose root may be written."""
    found = [f"{name} is set" for name in HOST if spec.get(name)]
    found += [f"volume {volume['name']} is a {kind}" for volume in spec.get("volumes", []) for kind in kinds(volume)]
    if not spec.get("serviceAccountName") and spec.get("automountServiceAccountToken") is not False:
        found.append("an account's token is mounted that nobody asked for")
    outer = spec.get("securityContext", {})
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        found += [f"container {container['name']}: {words}" for words in of_container(container, outer, writable)]
    return found


def kinds(volume: dict[str, Any]) -> list[str]:
    return [kind for kind in volume if kind != "name" and kind not in VOLUMES]


def of_container(container: dict[str, Any], outer: dict[str, Any], writable: tuple[str, ...]) -> list[str]:
    own = container.get("securityContext", {})
    both = {**outer, **own}
    limits = container.get("resources", {}).get("limits", {})
    requests = container.get("resources", {}).get("requests", {})
    wrong = {
        "may run as root": both.get("runAsNonRoot") is not True or both.get("runAsUser") == 0,
        "has no user of its own": not both.get("runAsUser"),
        "is privileged": bool(own.get("privileged")),
        "may gain privileges": own.get("allowPrivilegeEscalation") is not False,
        "keeps capabilities": own.get("capabilities", {}).get("drop") != ["ALL"] or bool(own["capabilities"].get("add")),
        "has no system call filter": both.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"),
        "unmasks /proc": own.get("procMount", "Default") != "Default",
        "can write to its root": own.get("readOnlyRootFilesystem") is not True and container["name"] not in writable,
        "has no memory limit": "memory" not in limits,
        "reserves nothing": not {"cpu", "memory"} <= requests.keys(),
        "publishes a port of its node": any("hostPort" in port for port in container.get("ports", [])),
    }
    return [words for words, yes in wrong.items() if yes]
