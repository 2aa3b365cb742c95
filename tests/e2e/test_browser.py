"""The page in a real browser, on the real stack: `codeact serve`, real sandboxes, and a scripted model server.

The tests themselves are the `ui_*.mjs` here, run by node; each file gets the chat's address.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.model_server import ScriptedModel
from tests.support.process import Served
from tests.support.scripts import Reply, Request, failure, puppet

HERE = Path(__file__).parent
FRONTEND = HERE.parents[1] / "frontend"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FILES = sorted(path.name for path in HERE.glob("ui_*.mjs"))
WORDS_PER_S = 60.0
LIMIT_S = 240.0

pytestmark = [pytest.mark.browser, pytest.mark.sandbox]


def script(request: Request) -> Reply:
    """Does what the message says: hang, fail, cut (off in code), slowly TEXT, run CODE; else says it back."""
    text = request.text.rpartition("\n\n")[2] if request.text.endswith(("hang", "fail", "cut")) else request.text
    if text == "hang":
        return Reply(hang=True)
    if text == "fail":
        return failure(500)
    if text == "cut":
        return Reply("Wait.\n\n```python\nx = 1\ny = ", finish="length")
    if text.startswith("slowly "):
        return Reply(text.removeprefix("slowly "), rate=WORDS_PER_S)
    return replace(puppet("fenced")(request), rate=400.0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Served, None]:
    if not shutil.which("node") or not Path(CHROMIUM).exists() or not (FRONTEND / "node_modules").is_dir():
        pytest.skip("needs node, Chromium and the frontend's packages")
    assert (FRONTEND / "dist/index.html").is_file(), "build the page first: npm run build in frontend/"
    async with ScriptedModel(script) as model, Served(tmp_path_factory.mktemp("data"), model.base_url) as running:
        yield running


@pytest.mark.timeout(LIMIT_S + 30)
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("file", FILES)
async def test_the_page_in_a_browser(served: Served, file: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "node", str(HERE / file), env={**os.environ, "CODEACT_URL": served.url, "CHROMIUM": CHROMIUM},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(LIMIT_S):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, output.decode(errors="replace")
