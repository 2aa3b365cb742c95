"""`executor doctor`: makes a real sandbox and says, feature by feature, what isolates it on this machine."""

from __future__ import annotations

import tempfile
from pathlib import Path

from executor.local import make_manager
from executor.settings import ServiceSettings, Settings
from executor.wire import Feature, Health

MARKS = {"on": "on", "off": "OFF", "unavailable": "unavailable"}


async def examine(service: ServiceSettings, settings: Settings) -> Health:
    """What the backend that is set says of this machine. Uses a data directory of its own, so that it can be
    asked while the service runs."""
    host = settings.host_data_dir  # the machine of the engine sees what lies in the data directory, and nothing else
    above = service.data_dir if host else None
    update: dict[str, Path | None] = {}
    if settings.backend == "kubernetes":  # a pod sees what lies in the volume of the workspaces, and nothing else
        above = settings.kube_claim_dir or service.data_dir / "workspaces"
        above.mkdir(parents=True, exist_ok=True)
        update["kube_claim_dir"] = above
    with tempfile.TemporaryDirectory(prefix=".doctor-", dir=above) as directory:
        update["host_data_dir"] = host / Path(directory).name if host else None
        manager = make_manager(Path(directory), settings.model_copy(update=update))
        try:
            return await manager.check()
        finally:
            await manager.close()


def table(health: Health) -> str:
    """For people: one line a feature, its state, and what there is to say about it."""
    wide = max((len(feature.name) for feature in health.features), default=0)
    lines = [_line(feature, wide) for feature in health.features]
    return "\n".join([*lines, "", health.words] if lines else [health.words])


def _line(feature: Feature, wide: int) -> str:
    return f"{feature.name:<{wide}}  {MARKS[feature.state]:<11}  {feature.detail}".rstrip()
