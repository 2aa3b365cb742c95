"""Real sandboxes for the executor's tests, by both backends: what takes `backend` or `sandbox` runs once with each."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from executor.manager import Manager
from executor.sandbox.base import Limits, Spec
from executor.sandbox.bubblewrap import Bubblewrap
from executor.sandbox.docker.backend import Docker
from executor.sandbox.docker.ground import Options
from executor.sandbox.programs import default_python
from tests.executor import seen
from tests.support.kernels import managing


@pytest.fixture(params=["bubblewrap", "docker"])
def maker(request: pytest.FixtureRequest) -> seen.Maker:
    return seen.maker(request)


@pytest.fixture
async def backend(maker: seen.Maker, tmp_path: Path) -> AsyncIterator[seen.AnyBackend]:
    """A backend with a run directory of its own; whatever a test leaves running is ended."""
    made = maker(tmp_path / "run")
    yield made
    await made.close()


@pytest.fixture
async def bubblewrap(tmp_path: Path) -> AsyncIterator[Bubblewrap]:
    """For what only bubblewrap's sandboxes have."""
    made = Bubblewrap(tmp_path / "run", default_python())
    yield made
    await made.close()


@pytest.fixture
async def docker(sandbox_image: str, tmp_path: Path) -> AsyncIterator[Docker]:
    """For what only Docker's sandboxes have."""
    made = Docker(tmp_path / "run", Options(sandbox_image))
    yield made
    await made.close()


@pytest.fixture
async def sandbox(backend: seen.AnyBackend, tmp_path: Path) -> AsyncIterator[seen.Any]:
    made = await backend.create(Spec("one", tmp_path / "workspace", Limits()))
    yield made
    await made.kill()


@pytest.fixture(params=["bubblewrap", "docker"])
async def manager(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Manager]:
    """All conversations of an executor, by each backend."""
    image = request.getfixturevalue("sandbox_image") if request.param == "docker" else ""
    async with managing(tmp_path, backend=request.param, image=image) as made:
        yield made


@pytest.fixture(scope="module", params=["bubblewrap", "docker"])
def by(request: pytest.FixtureRequest) -> dict[str, str]:
    """Settings for `managing`: each backend in turn."""
    image = request.getfixturevalue("sandbox_image") if request.param == "docker" else ""
    return {"backend": request.param, "image": image}
