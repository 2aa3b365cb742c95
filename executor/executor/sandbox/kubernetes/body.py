"""What the cluster is asked to make for one sandbox. Pure: the same arguments give the same pod, byte for byte.

Every key that may appear is written here and nowhere else (a test fails on any other), and the only strings that come from
outside are the sandbox's checked id, the place of its files, and what the operator set. No secret is in a pod: its gateway
is told the digest of the token that will open it.
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from base64 import b64encode
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from executor.sandbox import argv, seccomp
from executor.sandbox.base import Limits, Profile, Spec
from executor.sandbox.docker.body import PYTHON, RUN_SIZE

LABEL = "codeact.sandbox"  # label keys are LABEL/name
APP = "app.kubernetes.io/name"
NAME = "codeact-sandbox"  # what the NetworkPolicies of deploy/kubernetes select
PORT = 8888
USER = argv.USER
CPU_SHARE = 10  # of its CPU limit, one part in so many is reserved: a sandbox is idle most of the time
LOST_NODE_S = 30  # after which a pod whose node is out of reach is given up

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kit:
    """What every pod of one executor is made with. `image` should be a digest, or a tag that never moves; `claim` is the
    PersistentVolumeClaim that holds the workspaces; `runtime_class` is empty for the cluster's own; `nodes` is the label
    and taint (`name=value`) of the nodes for sandboxes, empty for any; `users` whether pods have user namespaces; `runner`
    tells this executor's pods from another's in the same namespace."""

    namespace: str
    image: str
    claim: str
    account: str
    runtime_class: str
    nodes: str
    users: bool
    runner: str


@dataclass(frozen=True, slots=True)
class Placed:
    """What differs from one sandbox to the next. `files` is where its workspace lies in the volume, `door` what it must not
    reach (`address:port`; empty: nothing is tried), `digest` that of its token."""

    name: str
    files: str
    digest: str
    door: str
    created: float
    deadline: float


def digest_of(token: str) -> str:
    """As in executor/image/gateway.py."""
    return hashlib.sha256(f"token {token}".encode()).hexdigest()


def pod_body(spec: Spec, kit: Kit, at: Placed) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": at.name, "namespace": kit.namespace, "labels": labels(spec, kit, at)},
        "spec": {
            **alone(kit),
            **placed(kit),
            "activeDeadlineSeconds": max(1, math.ceil(at.deadline - at.created)),
            "containers": [container(spec, kit, at)],
            "volumes": [volume["volume"] for volume in volumes(spec.limits, kit, at)],
        },
    }


def labels(spec: Spec, kit: Kit, at: Placed) -> dict[str, str]:
    """Who the pod is, for an executor that has forgotten it, and for the policies."""
    return {
        APP: NAME,
        f"{LABEL}/id": spec.id,
        f"{LABEL}/generation": str(spec.generation),
        f"{LABEL}/profile": str(spec.profile),
        f"{LABEL}/runner": kit.runner,
        f"{LABEL}/created": str(int(at.created)),
        f"{LABEL}/deadline": str(int(at.deadline)),
        f"{LABEL}/spec-hash": spec_hash(spec.limits, spec.profile, kit),
    }


def alone(kit: Kit) -> Json:
    """Of the node and of the cluster a sandbox has nothing: no names, no account, no namespace."""
    user = {"runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "supplementalGroups": []}
    return {
        "automountServiceAccountToken": False,
        "serviceAccountName": kit.account,
        "enableServiceLinks": False,
        "hostNetwork": False,
        "hostPID": False,
        "hostIPC": False,
        **({"hostUsers": False} if kit.users else {}),
        "shareProcessNamespace": False,
        "setHostnameAsFQDN": False,
        "hostname": "sandbox",
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["127.0.0.1"]},
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "securityContext": {**user, "seccompProfile": {"type": "RuntimeDefault"}},
        **({"runtimeClassName": kit.runtime_class} if kit.runtime_class else {}),
    }


def placed(kit: Kit) -> Json:
    """On which nodes: spread out, and soon given up with a node that is lost."""
    name, _, value = kit.nodes.partition("=")
    lost = ({"key": f"node.kubernetes.io/{state}"} for state in ("not-ready", "unreachable"))
    tolerations: list[Json] = [
        {**key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": LOST_NODE_S} for key in lost
    ]
    if name:
        tolerations.append({"key": name, "operator": "Equal", "value": value, "effect": "NoSchedule"})
    return {
        **({"nodeSelector": {name: value}} if name else {}),
        "tolerations": tolerations,
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": {f"{LABEL}/runner": kit.runner}},
            }
        ],
    }


def container(spec: Spec, kit: Kit, at: Placed) -> Json:
    environment = argv.environment(PYTHON, spec.limits, None)
    return {
        "name": "sandbox",
        "image": kit.image,
        "imagePullPolicy": "IfNotPresent",
        "command": [str(PYTHON), f"{argv.BOOTSTRAP}/gateway.py"],
        "args": [json.dumps(settings(spec.limits, kit, at), separators=(",", ":"))],
        "workingDir": argv.WORKSPACE,
        "env": [{"name": name, "value": value} for name, value in sorted(environment.items())],
        "ports": [{"name": "gateway", "containerPort": PORT, "protocol": "TCP"}],
        "resources": limited(spec.limits),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "privileged": False,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "stdin": False,
        "tty": False,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [volume["mount"] for volume in volumes(spec.limits, kit, at)],
    }


def settings(limits: Limits, kit: Kit, at: Placed) -> Json:
    """What `executor/image/gateway.py` is told, where anybody in the sandbox can read it. Processes are counted by user
    over all pods of a node, unless these have user namespaces: then, and only then, their number is limited from inside.
    (Otherwise the kubelet's podPidsLimit does it.)"""
    return {
        "digest": at.digest,
        "listen": f":{PORT}",
        "data": limits.data,
        "file_size": limits.file_size,
        "open_files": limits.open_files,
        "pids": limits.pids if kit.users else 0,
        "deadline_s": max(1, math.ceil(at.deadline - at.created)),
        "pod": {"filters": filters(), "door": at.door},
    }


def filters() -> dict[str, str]:
    """The system call filter for each kind of machine that a node may be, as image/pod.py reads it."""
    return {
        machine: b64encode(zlib.compress(seccomp.compile_for(machine), 9)).decode()
        for machine in sorted(seccomp.ARCHITECTURES)
    }


def limited(limits: Limits) -> Json:
    """Memory is reserved whole: what a node promised twice would end somebody else's sandbox."""
    milli = round(limits.cpus * 1000)
    disk = "64Mi"  # the root is read-only and the log says next to nothing
    return {
        "limits": {"cpu": f"{milli}m", "memory": str(limits.memory), "ephemeral-storage": disk},
        "requests": {
            "cpu": f"{max(1, milli // CPU_SHARE)}m",
            "memory": str(limits.memory),
            "ephemeral-storage": disk,
        },
    }


def volumes(limits: Limits, kit: Kit, at: Placed) -> list[dict[str, Json]]:
    """All that can be written: three small tmpfs, whose contents count as memory, and the workspace."""

    def memory(name: str, path: str, size: int) -> dict[str, Json]:
        return {
            "volume": {"name": name, "emptyDir": {"medium": "Memory", "sizeLimit": str(size)}},
            "mount": {"name": name, "mountPath": path},
        }

    workspace: dict[str, Json] = {
        "volume": {"name": "workspace", "persistentVolumeClaim": {"claimName": kit.claim}},
        "mount": {"name": "workspace", "mountPath": argv.WORKSPACE, "subPath": at.files},
    }
    return [
        workspace,
        memory("tmp", argv.TMP, limits.tmp),
        memory("run", "/run", RUN_SIZE),
        memory("shm", argv.SHM, limits.shm),
    ]


def spec_hash(limits: Limits, profile: Profile, kit: Kit) -> str:
    """Tells sandboxes that were made to other settings, or of another image, from those made now."""
    nobody = Placed("", "", "", "", 0, 1)
    spec = Spec("", Path("/"), limits, profile)
    made = container(spec, kit, nobody), alone(kit), placed(kit), volumes(limits, kit, nobody)
    return hashlib.sha256(json.dumps([asdict(limits), profile, *made], sort_keys=True).encode()).hexdigest()[:16]
