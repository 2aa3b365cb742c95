"""`python -m model_server serve` with llama.cpp and the real embedded model, and what it says where it cannot serve."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from model_server.catalogue import DEFAULT
from model_server.fetch import fetch
from model_server.health import ask
from model_server.smoke import tried

KEY = "a-key-for-tests-only"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@asynccontextmanager
async def started(*arguments: str, **settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CODEACT_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "model_server", *arguments, env=kept | {"CODEACT_MODEL_API_KEY": KEY} | settings,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def refused(**settings: str) -> str:
    """The words of a start that cannot work."""
    async with started("serve", **settings) as process:
        async with asyncio.timeout(60):
            _, said = await process.communicate()
        assert process.returncode in (1, 2), said
        return said.decode()


@pytest.mark.model
@pytest.mark.timeout(400)
async def test_llama_is_served_ready_after_a_token_passes_the_smoke_test_and_leaves_nothing():
    directory = (await fetch(DEFAULT)).parent
    port, health = free_port(), free_port()
    async with started(
        "serve", "--port", str(port), CODEACT_MODEL_HEALTH_PORT=str(health), CODEACT_MODEL_DIR=str(directory)
    ) as process:
        draining = asyncio.create_task(process.communicate())
        async with asyncio.timeout(120):
            while not (await ask(f"http://127.0.0.1:{health}"))[0]:
                assert process.returncode is None, await draining
                await asyncio.sleep(0.1)
        rows = {row.name: row for row in await tried(f"http://127.0.0.1:{port}/v1", KEY)}
        assert {row.state for row in rows.values()} == {"on"}, rows
        assert "llamacpp:requests_processing is 0" in rows["abort"].why
        engine = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
        assert len(engine) == 1
        assert KEY.encode() not in Path(f"/proc/{engine[0]}/cmdline").read_bytes()
        async with started("health", f"http://127.0.0.1:{health}") as looking:
            assert (await looking.communicate())[0].decode().startswith(f"ready: {DEFAULT.name} by llamacpp")
            assert looking.returncode == 0
        process.send_signal(signal.SIGTERM)
        _, said = await draining
        assert process.returncode == 0
        assert KEY not in said.decode()
        assert not Path(f"/proc/{engine[0]}").exists()


async def test_a_start_without_a_key_is_refused_before_anything_is_fetched(tmp_path):
    said = await refused(
        CODEACT_MODEL_API_KEY="", CODEACT_MODEL_DIR=str(tmp_path), CODEACT_MODEL_HEALTH_PORT=str(free_port())
    )
    assert "openssl rand" in said
    assert not list(tmp_path.iterdir())


async def test_an_unknown_model_is_refused_with_those_there_are():
    said = await refused(CODEACT_MODEL="gpt-99", CODEACT_MODEL_HEALTH_PORT=str(free_port()))
    assert "codeactagent-mistral-7b-v0.1" in said


async def test_vllm_without_a_gpu_says_what_to_do():
    if any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")):
        pytest.skip("there is a GPU here")
    said = await refused(CODEACT_MODEL_ENGINE="vllm", CODEACT_MODEL_HEALTH_PORT=str(free_port()))
    assert "No GPU can be seen here" in said


async def test_a_health_port_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = await refused(CODEACT_MODEL_HEALTH_PORT=str(port))
    assert f"port {port} is for its health" in said


@pytest.mark.parametrize(
    ("setting", "value"),
    [("CODEACT_MODEL_PORT", "http"), ("CODEACT_MODEL_ENGINE", "gpt"), ("CODEACT_VLLM_GPU_MEMORY", "7")],
)
async def test_a_setting_that_cannot_be_is_named(setting, value):
    said = await refused(**{setting: value})
    assert said.startswith(f"{setting} is {value!r}")
    assert "Traceback" not in said


async def test_health_says_that_nobody_is_there():
    async with started("health", "http://127.0.0.1:9") as process:
        _, said = await process.communicate()
        assert process.returncode == 1
        assert "nothing ready" in said.decode()
