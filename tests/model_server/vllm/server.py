"""`python -m model_server serve` with the real vLLM, in a process of its own, and tiny models for it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from model_server.health import ask

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venv-vllm/bin/python"
KEY = "a-key-for-tests-only"
START_S = 400.0


@dataclass(slots=True)
class Server:
    """`python -m model_server serve`, and all it has said."""

    process: asyncio.subprocess.Process
    name: str
    url: str
    health: str
    said: list[str] = field(default_factory=list)
    states: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join(self.said)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@asynccontextmanager
async def serving(model: str, **settings: str) -> AsyncIterator[Server]:
    """Started, not yet ready; ended with all its processes when the block ends."""
    port, health = free_port(), free_port()
    environment = os.environ | {
        "CODEACT_MODEL": model, "CODEACT_MODEL_ENGINE": "vllm", "CODEACT_VLLM_DEVICE": "cpu",
        "CODEACT_VLLM_PYTHON": str(PYTHON), "CODEACT_MODEL_PORT": str(port), "CODEACT_MODEL_HEALTH_PORT": str(health),
        "CODEACT_MODEL_API_KEY": KEY, "CODEACT_MODEL_MAX_LEN": "4096", "CODEACT_VLLM_MAX_NUM_SEQS": "4",
        "VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1",
    } | settings  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "model_server", "serve", env=environment, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, limit=1 << 20,
    )  # fmt: skip
    server = Server(process, Path(model).name, f"http://127.0.0.1:{port}/v1", f"http://127.0.0.1:{health}")
    listening = asyncio.create_task(listen(server))
    try:
        yield server
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            await process.wait()
            await listening


async def listen(server: Server) -> None:
    assert server.process.stderr is not None
    async for line in server.process.stderr:
        server.said.append(line.decode(errors="replace").rstrip())


async def until_ready(server: Server) -> list[str]:
    """The states it went through on the way."""
    states: list[str] = []
    async with asyncio.timeout(START_S):
        while True:
            ready, words = await ask(server.health)
            state = words.partition(":")[0]
            if not words.startswith("nothing") and (not states or states[-1] != state):
                states.append(state)
            if ready:
                return states
            assert server.process.returncode is None, server.text[-3000:]
            await asyncio.sleep(0.1)


async def write(directory: Path, name: str, kind: str) -> Path:
    made = await asyncio.create_subprocess_exec(
        str(PYTHON), str(Path(__file__).with_name("tiny_model.py")), str(directory / name), kind
    )
    assert await made.wait() == 0
    return directory / name
