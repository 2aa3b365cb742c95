"""The product with its own model, as `make run` starts it: one question, for which code must run."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from model_server.catalogue import DEFAULT
from model_server.fetch import fetch
from tests.bench.harness import product

pytestmark = [pytest.mark.model, pytest.mark.sandbox, pytest.mark.timeout(500)]


async def test_the_embedded_model_runs_code_and_answers_and_nothing_is_left_behind():
    await fetch(DEFAULT)
    async with product("", CODEACT_MODEL_NAME="", CODEACT_MODEL_PROFILE="") as served:
        children = descendants(served.process.pid)
        assert any(b"model_server.llama" in command(pid) for pid in children)
        answer = await ask(served.url, "What is 12345 multiplied by 6789?")
        assert answer["codeact"]["outcome"] == "answered"
        assert [cell["outcome"] for cell in answer["codeact"]["cells"]][-1] == "ok"
        assert "83810205" in answer["choices"][0]["message"]["content"].replace(",", "")
        children |= descendants(served.process.pid)
        assert await served.interrupt() == 0
        async with asyncio.timeout(10):
            while any(command(pid) for pid in children):
                await asyncio.sleep(0.05)


async def ask(url: str, question: str) -> dict:
    body = {"model": "codeact", "messages": [{"role": "user", "content": question}]}
    async with aiohttp.ClientSession() as http, http.post(f"{url}/v1/chat/completions", json=body) as response:
        answer = await response.json()
        assert response.status == 200, answer
        return answer


def descendants(pid: int) -> set[int]:
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found |= {child} | descendants(child)
    return found


def command(pid: int) -> bytes:
    """Empty when the process is gone (or only waits to be collected)."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
