"""Real sandboxes for the executor's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executor.sandbox.base import Limits, Spec
from executor.sandbox.bubblewrap import Bubblewrap
from executor.sandbox.programs import default_python
from executor.sandbox.running import Running


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[Bubblewrap]:
    """A backend with a run directory of its own; whatever a test leaves running is ended."""
    made = Bubblewrap(tmp_path / "run", default_python())
    yield made
    await made.close()


@pytest.fixture
async def sandbox(backend: Bubblewrap, tmp_path: Path) -> AsyncIterator[Running]:
    made = await backend.create(Spec("one", tmp_path / "workspace", Limits()))
    yield made
    await made.kill()
