"""The executor in the process that uses it, with the sandboxes of this machine: which classes, put together here alone."""

from __future__ import annotations

from pathlib import Path

from executor.manager import Manager
from executor.sandbox.bubblewrap import Bubblewrap
from executor.settings import Settings, run_dir


def make_manager(data_dir: Path, settings: Settings | None = None) -> Manager:
    """A manager with bubblewrap sandboxes. Starts nothing; needs no running event loop."""
    chosen = settings or Settings()
    return Manager(Bubblewrap(run_dir(data_dir), chosen.python), chosen, data_dir)
