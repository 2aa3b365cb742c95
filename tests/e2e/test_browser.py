"""The page in a real browser, on the real stack: `codeact serve`, real sandboxes, and a scripted model server.

The tests themselves are the `ui_*.mjs` here, run by node; each file gets the chat's address.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.model_server import ScriptedModel
from tests.support.obedient import obedient
from tests.support.process import Served

HERE = Path(__file__).parent
FRONTEND = HERE.parents[1] / "frontend"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FILES = sorted(path.name for path in HERE.glob("ui_*.mjs"))
LIMIT_S = 240.0

pytestmark = [pytest.mark.browser, pytest.mark.sandbox]


@asynccontextmanager
async def serving(data: Path, **settings: str) -> AsyncGenerator[Served, None]:
    if not shutil.which("node") or not Path(CHROMIUM).exists() or not (FRONTEND / "node_modules").is_dir():
        pytest.skip("needs node, Chromium and the frontend's packages")
    assert (FRONTEND / "dist/index.html").is_file(), "build the page first: npm run build in frontend/"
    async with ScriptedModel(obedient) as model, Served(data, model.base_url, **settings) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Served, None]:
    async with serving(tmp_path_factory.mktemp("data")) as running:
        yield running


@pytest.mark.timeout(LIMIT_S + 30)
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("file", FILES)
async def test_the_page_in_a_browser(served: Served, file: str) -> None:
    await passes(file, served.url)


@pytest.mark.timeout(LIMIT_S + 30)
async def test_a_team_in_browsers(tmp_path: Path) -> None:
    async with serving(tmp_path, CODEACT_AUTH="accounts", CODEACT_REGISTRATION="invite") as running:
        await passes("team_accounts.mjs", running.url)


async def passes(file: str, url: str) -> None:
    """Runs one of the files here."""
    process = await asyncio.create_subprocess_exec(
        "node", str(HERE / file), env={**os.environ, "CODEACT_URL": url, "CHROMIUM": CHROMIUM},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(LIMIT_S):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, output.decode(errors="replace")
