"""Servers are killed, paused, stopped and cut off from their database here, which takes its time by the clock: these run
when they are named (`make test-replicas`)."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    places = [Path(str(argument).partition("::")[0]).resolve() for argument in config.args]
    named = any(place == HERE or HERE in place.parents for place in places)
    return None if named or HERE not in (collection_path, *collection_path.parents) else True
