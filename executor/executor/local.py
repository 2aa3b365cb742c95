"""The executor in the process that uses it, with the sandboxes of this machine: which classes, put together here alone."""

from __future__ import annotations

from pathlib import Path

from executor.egress.configured import make_egress
from executor.egress.granting import Granting
from executor.manager import Manager
from executor.sandbox import image
from executor.sandbox.base import Backend
from executor.sandbox.bubblewrap import Bubblewrap
from executor.settings import Settings, run_dir


def make_manager(data_dir: Path, settings: Settings | None = None, survive: bool = False) -> Manager:
    """A manager with the sandboxes that the settings name. With `survive` they outlive this process, for its next life to
    take up. Starts nothing; needs no running event loop. Raises ValueError, with words, when a list of hosts cannot be
    read."""
    chosen = settings or Settings()
    egress = make_egress(chosen)
    manager = Manager(Granting(make_backend(data_dir, chosen, survive), egress, data_dir), chosen, data_dir)
    manager.counts.egress = egress.counters
    return manager


def make_backend(data_dir: Path, chosen: Settings, survive: bool = False) -> Backend:
    if chosen.backend == "bubblewrap":
        return Bubblewrap(run_dir(data_dir), chosen.python, survive, chosen.limits())
    if chosen.backend == "kubernetes":
        return kubernetes(data_dir.absolute(), chosen)
    from executor.sandbox.docker.backend import Docker
    from executor.sandbox.docker.ground import Options
    from executor.sandbox.docker.paths import Paths

    data = data_dir.absolute()
    options = Options(
        image=chosen.image or image.name(),
        socket=chosen.docker_socket,
        runtime=chosen.runtime,
        apparmor=chosen.apparmor,
        strict=chosen.strict,
        limits=chosen.limits(),
    )
    # In the data directory, which the engine's machine has too; a socket's long name is no matter there.
    return Docker(data / "sandboxes", options, Paths(data, (chosen.host_data_dir or data).absolute()))


def kubernetes(data: Path, chosen: Settings) -> Backend:
    from executor.sandbox.kubernetes.backend import Kubernetes
    from executor.sandbox.kubernetes.ground import Options

    options = Options(
        image=chosen.image,
        workspaces=chosen.kube_claim_dir or data / "workspaces",
        namespace=chosen.kube_namespace,
        config=chosen.kube_config,
        claim=chosen.kube_claim,
        account=chosen.kube_account,
        runtime_class=chosen.kube_runtime_class,
        nodes=chosen.kube_nodes,
        users=chosen.kube_users,
        door=chosen.kube_door,
        limits=chosen.limits(),
    )
    return Kubernetes(data / "sandboxes", options)
