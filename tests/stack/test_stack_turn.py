"""A turn through the whole stack, and the page in a real browser."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import aiohttp
import pytest

from orchestrator.protocol.events import TurnOutcome
from tests.support.stack import ROOT, Stack
from tests.support.stack_scene import Guest

pytestmark = pytest.mark.timeout(900)

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
E2E = ROOT / "tests" / "e2e"
LIMIT_S = 300.0


async def test_a_turn_runs_code_in_a_docker_sandbox_and_everything_is_well(stack: Stack, guest: Guest) -> None:
    tab = await guest.tab()
    view = await tab.ask("run import platform, os\nprint(6 * 7, os.getcwd(), platform.node())")
    assert view.turns[-1].items[0].outputs[0].text == "42 /workspace sandbox\n"
    assert view.turns[-1].outcome is TurnOutcome.ANSWERED
    assert stack.sandboxes(), "the code ran in no container of this stack"
    ready = await guest.ok("GET", "/readyz")
    assert ready["ok"], ready


async def test_v1_streams_without_being_held_back(stack: Stack, guest: Guest) -> None:
    """The first words are here long before the last ones are written: nothing on the way collects them."""
    token = await guest.token("chat")
    body = {"model": "codeact", "stream": True, "messages": [{"role": "user", "content": "slowly " + "word " * 240}]}
    headers = {"Authorization": f"Bearer {token}"}
    at: list[float] = []
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(f"{stack.url}/v1/chat/completions", json=body) as answer,
    ):
        assert answer.status == 200, await answer.text()
        assert "content-encoding" not in answer.headers
        async for line in answer.content:
            if b'"content"' in line:
                at.append(asyncio.get_running_loop().time())
    assert at[-1] - at[0] > 2.0 and len({round(moment, 1) for moment in at}) > 10


@pytest.mark.browser
@pytest.mark.parametrize("file", sorted(path.name for path in E2E.glob("ui_*.mjs")))
async def test_the_page_in_a_browser(stack: Stack, guest: Guest, file: str) -> None:
    if not shutil.which("node") or not Path(CHROMIUM).exists() or not (ROOT / "frontend/node_modules").is_dir():
        pytest.skip("needs node, Chromium and the frontend's packages")
    environment = {**os.environ, "CODEACT_URL": stack.url, "CODEACT_LOGIN": guest.secret(), "CHROMIUM": CHROMIUM}
    process = await asyncio.create_subprocess_exec(
        "node", str(E2E / file), env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, output.decode(errors="replace")
