"""The model server as our child: restarted where it dies, ended with us. A stand-in plays the server here; the real one has
its own tests."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from model_server import child as supervising
from model_server.catalogue import DEFAULT
from model_server.child import LlamaChild, ModelDidNotStart
from model_server.cores import idle_cores, quota, threads

STAND_IN = """
import argparse, json, os, signal, socket, sys, time
options = argparse.ArgumentParser(); options.add_argument("--port", type=int); port = options.parse_known_args()[0].port
assert os.environ["CODEACT_LLAMA_API_KEY"]
listener = socket.create_server(("127.0.0.1", port))
print(json.dumps({"ready": True, "url": f"http://127.0.0.1:{listener.getsockname()[1]}/v1", "threads": 1}), flush=True)
signal.pause()
"""


def stand_in(code: str = STAND_IN) -> LlamaChild:
    return LlamaChild(DEFAULT, Path("model"), (sys.executable, "-c", code))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_it_is_there_for_the_block_and_gone_after():
    async with stand_in() as child:
        pid = child.pid
        assert pid is not None
        assert alive(pid)
        assert child.url.startswith("http://127.0.0.1:")
    assert not alive(pid)


async def test_one_that_dies_comes_back_at_the_same_address(monkeypatch, caplog):
    monkeypatch.setattr(supervising, "BACK_OFF_S", (0.05,))
    caplog.set_level("INFO")
    async with stand_in() as child:
        url, first = child.url, child.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(20):
            while "is back" not in caplog.text:
                await asyncio.sleep(0.02)
        second = child.pid
        assert second is not None
        assert second != first
        assert child.url == url
        assert "ended (status -9)" in caplog.text
    assert not alive(second)


async def test_one_that_never_starts_says_why():
    with pytest.raises(ModelDidNotStart, match="no such tensor"):
        async with stand_in("import sys; sys.exit('no such tensor')"):
            pass


async def test_cancelling_the_start_ends_the_child(tmp_path):
    file = tmp_path / "pid"
    task = asyncio.create_task(
        stand_in(f"import os, time; open({str(file)!r}, 'w').write(str(os.getpid())); time.sleep(60)").__aenter__()
    )
    async with asyncio.timeout(10):
        while not file.exists() or not file.read_text():
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not alive(int(file.read_text()))


async def test_a_child_that_ignores_sigterm_is_killed():
    code = STAND_IN.replace("listener =", "signal.signal(signal.SIGTERM, signal.SIG_IGN); listener =")
    async with stand_in(code) as child:
        pid = child.pid
        assert pid is not None
    assert not alive(pid)


async def test_its_key_is_not_on_the_command_line():
    async with stand_in() as child:
        assert child.key
        assert child.key.encode() not in Path(f"/proc/{child.pid}/cmdline").read_bytes()


def test_threads_are_at_least_one_and_never_more_than_cores():
    assert 1 <= threads() <= len(os.sched_getaffinity(0))


def test_idle_cores_lie_between_none_and_all():
    allowed = os.sched_getaffinity(0)
    assert 0 <= idle_cores(allowed, 0.2) <= len(allowed) * 1.1


@pytest.mark.parametrize(("text", "cores"), [("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("rubbish", 8)])
def test_a_container_limit_bounds_the_cores(monkeypatch, tmp_path, text, cores):
    (tmp_path / "cpu.max").write_text(text)
    monkeypatch.setattr("model_server.cores.CPU_MAX", tmp_path / "cpu.max")
    assert quota(8) == cores
