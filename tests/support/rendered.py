"""The manifests of deploy/kubernetes as a cluster would get them: rendered by a real `kubectl kustomize`."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("dev", "single-gpu", "cluster", "cluster-ray")
WORKLOADS = ("Deployment", "StatefulSet", "Job", "DaemonSet")

Object = dict[str, Any]


@cache
def tree() -> Path:
    """A copy with secrets, as docs/deploy.md makes them, and beside the overlays the one that the cluster's turns into for
    a model larger than a node."""
    copy = Path(mkdtemp(prefix="manifests-")) / "kubernetes"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("secrets"))
    ray = copy / "overlays" / "cluster-ray"
    shutil.copytree(copy / "overlays" / "cluster", ray)
    text = (ray / "kustomization.yaml").read_text()
    (ray / "kustomization.yaml").write_text(text.replace("  - ../../model-gpu\n", "  - ../../model-ray\n"))
    for name in OVERLAYS:
        subprocess.run([copy / "secrets.sh", copy / "overlays" / name], check=True, capture_output=True)
    return copy


@cache
def objects(overlay: str) -> list[Object]:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("there is no kubectl: apt-get install kubernetes-client")
    done = subprocess.run([kubectl, "kustomize", tree() / "overlays" / overlay], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [found for found in yaml.safe_load_all(done.stdout) if found]


def of_kind(overlay: str, *kinds: str) -> list[Object]:
    return [found for found in objects(overlay) if found["kind"] in kinds]


def name(of: Object) -> tuple[str, str]:
    """Namespace and name."""
    return of["metadata"].get("namespace", ""), of["metadata"]["name"]


def pods(overlay: str) -> list[tuple[Object, Object]]:
    """Each workload with its pod template."""
    return [(found, found["spec"]["template"]) for found in of_kind(overlay, *WORKLOADS)]
