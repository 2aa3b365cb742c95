"""The real llama.cpp server with the real model, asked as the product asks it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from model_server.catalogue import DEFAULT
from model_server.child import LlamaChild
from model_server.fetch import model_dir
from model_server.llama import KEY_VARIABLE

pytestmark = [pytest.mark.model, pytest.mark.timeout(400), pytest.mark.asyncio(loop_scope="session")]

SYSTEM = {"role": "system", "content": "You are a helpful assistant. " + "Be brief, exact and friendly. " * 12}


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


@asynccontextmanager
async def asked(llama: LlamaChild, messages: list[dict[str, str]], **fields: Any) -> AsyncIterator[aiohttp.ClientResponse]:
    body = {"model": DEFAULT.name, "messages": messages, "temperature": 0, "max_tokens": 24} | fields
    headers = {"Authorization": f"Bearer {llama.key}"}
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http,
        http.post(f"{llama.url}/chat/completions", json=body, headers=headers) as response,
    ):
        yield response


async def whole(llama: LlamaChild, messages: list[dict[str, str]], **fields: Any) -> dict[str, Any]:
    async with asked(llama, messages, **fields) as response:
        answer: dict[str, Any] = await response.json()
        assert response.status == 200, answer
        return answer


async def test_it_streams_token_by_token(llama):
    pieces = []
    async with asked(llama, [user("Count from 1 to 8.")], stream=True) as response:
        async for line in response.content:
            if line.startswith(b"data: {"):
                pieces.append(json.loads(line[6:])["choices"][0])
    texts = [piece["delta"].get("content") for piece in pieces if piece["delta"].get("content")]
    assert len(texts) > 5
    assert "3" in "".join(texts)
    assert pieces[-1]["finish_reason"] in ("stop", "length")


async def test_a_stop_string_ends_the_answer_and_is_stripped(llama):
    answer = await whole(llama, [user("Count: 1, 2, 3, 4, 5, 6, 7, 8, 9. Repeat that exactly.")], stop=["5"])
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert "4" in choice["message"]["content"]
    assert "5" not in choice["message"]["content"]


async def test_a_follow_up_reuses_its_history_also_when_two_conversations_take_turns(llama):
    first = [SYSTEM, user("Name one fruit. " + "It grows on a tree in a garden. " * 6)]
    second = [SYSTEM, user("Name one animal. " + "It lives in a house by the sea. " * 6)]
    for conversation in (first, second):
        answer = await whole(llama, conversation, max_tokens=6)
        conversation += [{"role": "assistant", "content": answer["choices"][0]["message"]["content"]}, user("Another one?")]
    for conversation in (first, second):
        usage = (await whole(llama, conversation, max_tokens=2))["usage"]
        cached, prompt = usage["prompt_tokens_details"]["cached_tokens"], usage["prompt_tokens"]
        assert prompt - cached < 24, usage


async def test_one_token_after_the_system_prompt_reads_it_ahead(llama):
    system = {"role": "system", "content": "You know all about ships. " + "Answer in one word. " * 15}
    await whole(llama, [system, user("Hello")], max_tokens=1)  # as the orchestrator does when a page opens
    usage = (await whole(llama, [system, user("Which part of a ship steers it?")], max_tokens=2))["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] > 60, usage


async def test_hanging_up_frees_the_slot(llama):
    """One slot only: an answer that nobody reads must not keep the next question waiting."""
    async with asked(llama, [user("Write a very long story about the sea.")], stream=True, max_tokens=1500) as response:
        await response.content.readany()
    async with asyncio.timeout(60):
        while await busy(llama):
            await asyncio.sleep(0.1)


async def busy(llama: LlamaChild) -> bool:
    root = llama.url.removesuffix("/v1")
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {llama.key}"}) as http:
        async with http.get(f"{root}/slots") as response:
            return any(slot["is_processing"] for slot in await response.json())


async def test_nobody_gets_in_without_the_key(llama):
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:
        async with http.post(f"{llama.url}/chat/completions", json={"messages": [user("hi")]}) as response:
            assert response.status == 401
        async with http.get(f"{llama.url.removesuffix('/v1')}/health") as response:
            assert response.status == 200


async def test_it_listens_on_loopback_only(llama):
    port = int(llama.url.removesuffix("/v1").rpartition(":")[2])
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    addresses = {row[1] for row in listening if row[3] == "0A" and row[1].endswith(f":{port:04X}")}
    assert addresses == {f"0100007F:{port:04X}"}


async def test_it_dies_with_its_parent_even_when_that_is_killed(tmp_path):
    code = (
        "import asyncio, sys; from pathlib import Path\n"
        "from model_server.catalogue import DEFAULT; from model_server.child import LlamaChild\n"
        "async def main():\n"
        "    async with LlamaChild(DEFAULT, Path(sys.argv[1])) as child:\n"
        "        print(child.pid, flush=True); await asyncio.sleep(60)\n"
        "asyncio.run(main())"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(model_dir() / DEFAULT.file), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await asyncio.wait_for(parent.stdout.readline(), 120))
    parent.kill()
    await parent.wait()
    async with asyncio.timeout(10):
        while running(pid):
            await asyncio.sleep(0.05)


async def test_sigterm_ends_it_at_once_even_while_it_loads():
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "model_server.llama", "--model", str(model_dir() / DEFAULT.file), "--threads", "1",
        env=os.environ | {KEY_VARIABLE: "k"}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await asyncio.sleep(1.0)  # somewhere in the middle of the import or of loading
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 10) == -signal.SIGTERM


@pytest.mark.parametrize(("variable", "words"), [("", "not set"), ("k", "could not start")])
async def test_a_start_that_cannot_work_says_why(tmp_path, variable, words):
    (tmp_path / "bad.gguf").write_bytes(b"not a model")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "model_server.llama", "--model", str(tmp_path / "bad.gguf"), "--threads", "1",
        env=os.environ | {KEY_VARIABLE: variable}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode != 0
    assert words in errors.decode()


def running(pid: int) -> bool:
    """Not a zombie that nobody has waited for yet, either."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
