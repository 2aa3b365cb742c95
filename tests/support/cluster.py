"""A cluster for tests: the API server stand-in, and the executor's backend and service on it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.sandbox.kubernetes.backend import Kubernetes
from executor.sandbox.kubernetes.ground import Options
from tests.support.api_server import ApiServer
from tests.support.executor_service import Executor, ServedKernel

IMAGE = "registry.example/codeact-sandbox@sha256:" + "0" * 64


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A cluster of one node."""
    if os.geteuid() != 0:
        pytest.skip("the stand-in's node needs root: it carries connections into network namespaces")
    server = ApiServer(tmp_path_factory.mktemp("cluster"))
    server.start()
    yield server
    server.stop()


def options(cluster: ApiServer, data: Path, **chosen: str) -> Options:
    workspaces = data / "workspaces"
    return Options(IMAGE, workspaces, config=cluster.kubeconfig(), claim=claim(cluster, workspaces), **chosen)


def backend(cluster: ApiServer, data: Path, **chosen: str) -> Kubernetes:
    return Kubernetes(data / "sandboxes", options(cluster, data, **chosen))


def claim(cluster: ApiServer, workspaces: Path) -> str:
    """The claim that is this directory; each of a test's executors has one of its own."""
    return cluster.volume(f"files-{hashlib.sha256(str(workspaces).encode()).hexdigest()[:12]}", workspaces)


def environment(cluster: ApiServer, data: Path) -> dict[str, str]:
    """What chooses this cluster for an executor that is a process of its own."""
    chosen = {
        "BACKEND": "kubernetes",
        "IMAGE": IMAGE,
        "KUBE_CONFIG": str(cluster.kubeconfig()),
        "KUBE_CLAIM": claim(cluster, data / "workspaces"),
        "WARM": "0",
    }
    return {f"CODEACT_SANDBOX_{name}": value for name, value in chosen.items()}


def served(cluster: ApiServer, data: Path) -> ServedKernel:
    return ServedKernel(Executor(data, **environment(cluster, data)))
