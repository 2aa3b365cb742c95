"""What the product asks of a model server, asked of the real vLLM."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
from pathlib import Path

import aiohttp
import pytest

from model_server.health import ask
from model_server.probe import Answer, Probe
from model_server.smoke import smoke, tried
from tests.bench.harness import product
from tests.model_server.vllm.server import KEY, Server, free_port, serving, until_ready, write

pytestmark = [pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="session")]

HONEST = {"answered", "token_limit", "repeating", "execution_limit"}
TALK = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]


async def test_it_is_ready_only_after_a_real_token(vllm: Server):
    assert vllm.states[-1] == "ready"
    assert vllm.states[0] in ("loading", "warming")
    async with Probe(vllm.url, KEY) as probe:
        figures = await probe.metrics()
    assert figures["vllm:generation_tokens_total"] >= 1
    assert f"{vllm.name} is ready at {vllm.url}" in vllm.text


async def test_every_check_of_the_smoke_test_is_on(vllm: Server, capsys):
    rows = await tried(vllm.url, KEY)
    assert {row.name: row.state for row in rows} == dict.fromkeys(
        ("model", "key", "answer", "streaming", "usage", "stop strings", "chat template", "prefix cache", "abort"), "on"
    ), rows
    words = {row.name: row.why for row in rows}
    assert "stop_reason names it" in words["stop strings"]
    assert "left in where asked to" in words["stop strings"]
    assert "vllm:num_requests_running is 0" in words["abort"]
    assert await smoke(vllm.url, KEY) == 0
    print(capsys.readouterr().out)


async def test_the_template_is_what_the_codeact_models_were_trained_on(vllm: Server):
    """Text for text, and no beginning-of-sequence token although this tokenizer has one."""
    async with Probe(vllm.url, KEY) as probe:
        await probe.discover()
        said = await probe.post_json(
            f"{probe.root}/tokenize", {"model": probe.model, "messages": TALK, "return_token_strs": True}
        )
        text = "".join(said["token_strs"]).replace("Ċ", "\n")
        assert text == "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"
        assert said["token_strs"].count("<|im_start|>") == 3, "the marks are tokens of their own"
        answer = await probe.ask(TALK, 1)
        assert answer.usage["prompt_tokens"] == said["count"]
        status = await probe.status(
            f"{probe.base}/chat/completions",
            {"model": probe.model, "messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]},
            probe.headers,
        )
        assert status == 400, "a role that the model does not know"


async def test_many_that_hang_up_leave_nothing_running(vllm: Server):
    async with Probe(vllm.url, KEY) as probe:
        await probe.discover()

        async def hang_up() -> None:
            async with probe.asking(TALK, 1500, Answer(), ignore_eos=True) as pieces:
                async for _ in pieces:
                    return

        await asyncio.gather(*(hang_up() for _ in range(12)))  # more than run at a time
        async with asyncio.timeout(10):
            while (figures := await probe.metrics())["vllm:num_requests_running"] or figures["vllm:num_requests_waiting"]:
                await asyncio.sleep(0.05)


async def test_its_key_is_on_no_command_line_and_in_no_log(vllm: Server):
    assert KEY not in vllm.text
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert KEY.encode() not in process.read_bytes(), process
        except (FileNotFoundError, ProcessLookupError):
            continue


async def test_a_whole_turn_of_the_product_ends_honestly(vllm: Server):
    """The model writes noise. The turn ends by itself, says how, and the page shows what was written and no more."""
    settings = {"CODEACT_MODEL_NAME": vllm.name, "CODEACT_MODEL_API_KEY": KEY, "CODEACT_MODEL_CONTEXT_TOKENS": "4096"}
    async with product(vllm.url, CODEACT_MODEL_PROFILE="", CODEACT_MODEL_MAX_TOKENS="64", **settings) as served:
        tab = await served.tab()
        closed = await tab.closed(await tab.say("What is 2 + 2?"))
        assert closed.outcome in HONEST, closed
        told = tab.view
        assert any(event.type == "text.delta" for event in tab.events), "the noise was streamed"
        await tab.load()
        assert tab.view == told


async def test_a_conversation_that_is_too_long_is_refused_in_words_the_product_knows(vllm: Server):
    from orchestrator.adapters.openai_words import TOO_LONG

    body = {"model": vllm.name, "messages": [{"role": "user", "content": "word " * 4000}], "max_tokens": 16}
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as http,
        http.post(f"{vllm.url}/chat/completions", json=body) as answer,
    ):
        assert answer.status == 400
        assert TOO_LONG.search(json.dumps(await answer.json()))


async def test_it_ends_with_all_its_processes_when_told_and_when_killed(models: Path):
    path = await write(models, "codeact-qwen", "qwen2")
    for number in (signal.SIGTERM, signal.SIGKILL):
        async with serving(str(path)) as server:
            await until_ready(server)
            family = descendants(server.process.pid)
            assert len(family) >= 2, "the API server and its engine"
            os.kill(server.process.pid, number)
            await server.process.wait()
            if number == signal.SIGTERM:
                assert server.process.returncode == 0
            async with asyncio.timeout(30):
                while any(map(alive, family)):
                    await asyncio.sleep(0.1)
            assert not (await ask(server.health))[0]


async def test_an_engine_that_dies_is_told_and_is_the_exit_status(models: Path):
    async with serving(str(models / "codeact-qwen")) as server:
        await until_ready(server)
        family = descendants(server.process.pid)
        (keeper,) = children(server.process.pid)
        (api,) = children(keeper)
        os.kill(api, signal.SIGKILL)
        async with asyncio.timeout(60):
            assert await server.process.wait() == 1
        assert not any(map(alive, family)), "its engine went with it"
    assert "The model cannot be served." in server.text


@pytest.mark.parametrize(
    ("case", "settings", "words"),
    [
        ("no such repository here", {"CODEACT_MODEL": "nobody/Nothing-1B"}, "cannot be reached|no such model"),
        ("not a whole model", {"CODEACT_MODEL": "{empty}"}, "does not hold a whole model|no such model"),
        ("no chat template", {"CODEACT_MODEL": "{plain}"}, "no chat template.*--chat-template FILE"),
        ("too long for it", {"CODEACT_MODEL_MAX_LEN": "99999"}, "not made for 99999 tokens"),
        ("an argument nobody knows", {"CODEACT_VLLM_ARGS": "--brand-new=7"}, "does not know --brand-new=7"),
        ("too little memory", {"CODEACT_VLLM_ARGS": "--kv-cache-memory-bytes 4096"}, "memory"),
        ("no vLLM", {"CODEACT_VLLM_PYTHON": "/usr/bin/python3"}, "vLLM is not installed|CODEACT_VLLM_PYTHON"),
        ("no Python", {"CODEACT_VLLM_PYTHON": "/no/python"}, "/no/python cannot be started"),
        ("a port that is taken", {"CODEACT_MODEL_PORT": "{taken}"}, "CODEACT_MODEL_PORT"),
    ],
)
async def test_what_cannot_work_is_explained(models: Path, tmp_path: Path, case, settings, words):
    (tmp_path / "empty-model").mkdir()
    (tmp_path / "plain").symlink_to(models / "codeact-qwen")
    path = models / "codeact-qwen"
    if not path.exists():
        await write(models, "codeact-qwen", "qwen2")
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        places = {
            "plain": str(tmp_path / "plain"),
            "empty": str(tmp_path / "empty-model"),
            "taken": str(taken.getsockname()[1]),
        }
        async with serving(str(path), **{name: value.format(**places) for name, value in settings.items()}) as server:
            async with asyncio.timeout(300):
                assert await server.process.wait() == 1
    told = server.text.rpartition("The model cannot be served.")[2]
    assert re.search(words, told), server.text[-3000:]


def children(pid: int) -> list[int]:
    return [int(child) for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()]


def descendants(pid: int) -> set[int]:
    return {found for child in children(pid) for found in {child} | descendants(child)}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
