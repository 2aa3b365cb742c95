"""An engine's processes, all of them, end with the server that started it; what it says is passed on and kept."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from model_server.engine import KEPT_LINES, EngineProcess
from model_server.plan import Plan

FAMILY = """
import os, signal, subprocess, sys
grandchild = subprocess.Popen([sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN); signal.pause()"])
print("family", os.getpid(), grandchild.pid, flush=True)
signal.pause()
"""
STARTER = """
import asyncio, sys
from model_server.engine import EngineProcess
from model_server.plan import Plan
async def main():
    plan = Plan("m", (sys.executable, "-c", sys.argv[1]), "http://x", "", {})
    async with EngineProcess(plan, lambda words: print(words, flush=True)):
        await asyncio.sleep(60)
asyncio.run(main())
"""


def plan(*command: str) -> Plan:
    return Plan("m", command, "http://127.0.0.1:9", "secret", {"ENGINE_KEY": "secret"})


def python(code: str) -> Plan:
    return plan(sys.executable, "-c", code)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def gone(pids: list[int]) -> None:
    async with asyncio.timeout(20):
        while any(map(alive, pids)):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_all_of_it_ends_when_the_server_is_killed(number):
    starter = await asyncio.create_subprocess_exec(sys.executable, "-c", STARTER, FAMILY, stdout=asyncio.subprocess.PIPE)
    assert starter.stdout is not None
    family = [int(pid) for pid in (await starter.stdout.readline()).split()[1:]]
    assert len(family) == 2
    assert all(map(alive, family))
    starter.send_signal(number)
    await starter.wait()
    await gone(family)


async def test_all_of_it_ends_with_the_block_even_what_ignores_sigterm():
    said: list[str] = []
    async with EngineProcess(python(FAMILY), said.append) as engine:
        async with asyncio.timeout(20):
            while not said:
                await asyncio.sleep(0.01)
        family = [int(pid) for pid in said[0].split()[1:]]
        assert engine.status is None
    await gone(family)


async def test_what_it_says_is_passed_on_and_its_status_is_told():
    said: list[str] = []
    code = "import os, sys; print(os.environ['ENGINE_KEY'] == 'secret'); sys.exit('the last word')"
    async with EngineProcess(python(code), said.append) as engine:
        assert await engine.ended() == 1
        assert list(engine.said) == said == ["True", "the last word"]


async def test_a_signal_that_ended_it_is_told():
    async with EngineProcess(python("import os; os.kill(os.getpid(), 9)"), lambda _: None) as engine:
        assert await engine.ended() == 137


async def test_what_a_dead_engine_leaves_is_ended_and_keeps_nobody_waiting():
    said: list[str] = []
    async with EngineProcess(python(FAMILY), said.append) as engine:
        async with asyncio.timeout(20):
            while not said:
                await asyncio.sleep(0.01)
        engine_pid, grandchild = (int(pid) for pid in said[0].split()[1:])
        os.kill(engine_pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            assert await engine.ended() == 137
        await gone([grandchild])


async def test_a_program_that_is_not_there_is_named():
    async with EngineProcess(plan("/no/such/python"), lambda _: None) as engine:
        assert await engine.ended() == 127
        assert engine.said[-1] == "/no/such/python cannot be started: No such file or directory"


async def test_a_flood_of_words_is_not_kept():
    code = f"import sys; [print(n) for n in range({KEPT_LINES * 3})]; print('x' * (3 << 20)); print('end')"
    async with EngineProcess(python(code), lambda _: None) as engine:
        assert await engine.ended() == 0
        assert len(engine.said) == KEPT_LINES
        assert engine.said[-1] == "end"
        assert max(map(len, engine.said)) < 1 << 20


async def test_our_own_names_for_the_key_are_not_handed_on(monkeypatch):
    monkeypatch.setenv("CODEACT_MODEL_API_KEY", "ours")
    code = "import os; print([name for name in os.environ if name.startswith('CODEACT_MODEL_API_KEY')])"
    async with EngineProcess(python(code), lambda _: None) as engine:
        await engine.ended()
        assert list(engine.said) == ["[]"]
    assert os.environ["CODEACT_MODEL_API_KEY"] == "ours"
