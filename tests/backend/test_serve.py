"""`codeact serve` as a command: what it says when something is missing, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from orchestrator import ground
from orchestrator.ground import Refused, bind, check_disk, claim, memory_words
from orchestrator.settings import Settings

START_S = 60.0
NOWHERE = "http://127.0.0.1:9/v1"


class Command:
    """The running command; `output` is all it has said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process, self.output = process, ""
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.output += line.decode(errors="replace")

    async def says(self, words: str) -> None:
        async with asyncio.timeout(START_S):
            while words not in self.output:
                assert not self._reading.done(), f"it ended: {self.output}"
                await asyncio.sleep(0.02)

    async def ends(self) -> int:
        async with asyncio.timeout(START_S):
            await self._reading
            return await self.process.wait()


@asynccontextmanager
async def started(tmp_path: Path, **settings: str) -> AsyncIterator[Command]:
    ui = tmp_path / "ui"
    ui.mkdir(exist_ok=True)
    (ui / "index.html").write_text("<!doctype html><title>page</title>")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CODEACT_")}
    mine = {
        "CODEACT_DATA_DIR": str(tmp_path / "data"),
        "CODEACT_PORT": "0",
        "CODEACT_UI_DIR": str(ui),
        "CODEACT_MODEL_URL": NOWHERE,
        "CODEACT_MODEL_NAME": "m",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "orchestrator.cli", "serve", cwd=tmp_path, env=clean | mine | settings,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield Command(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_says_where_the_chat_is_and_stops_when_told(tmp_path, number):
    async with started(tmp_path) as command:
        await command.says("in your browser")
        url = command.output.split("Open ")[1].split()[0]
        async with aiohttp.ClientSession() as http, http.get(f"{url}/healthz") as response:
            assert response.status == 200
            assert "server" not in {name.lower() for name in response.headers}
        command.process.send_signal(number)
        assert await command.ends() == 0
        assert "Stopped" in command.output
        assert "Traceback" not in command.output


async def test_what_is_not_well_is_told_in_the_terminal_and_the_chat_runs_all_the_same(tmp_path):
    async with started(tmp_path, CODEACT_SANDBOX_PYTHON=str(tmp_path / "no-python")) as command:
        await command.says("in your browser")
        await command.says("sandbox: ")
        await command.says("model: ")
        command.process.send_signal(signal.SIGINT)
        assert await command.ends() == 0


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"CODEACT_HOST": "0.0.0.0"}, "not a loopback address"),
        ({"CODEACT_HOST": "example.org"}, "ssh -L"),
        ({"CODEACT_PORT": "abc"}, "CODEACT_PORT cannot be 'abc'"),
        ({"CODEACT_UI_DIR": "/nonexistent"}, "make setup"),
        ({"CODEACT_STORE_URL": "mysql://x"}, "CODEACT_STORE_URL"),
        ({"CODEACT_KERNEL_URL": "telnet://x"}, "CODEACT_KERNEL_URL"),
        ({"CODEACT_DATA_DIR": "/proc/nothing"}, "CODEACT_DATA_DIR"),
    ],
)
async def test_a_setting_that_cannot_be_is_refused_in_words(tmp_path, settings, words):
    async with started(tmp_path, **settings) as command:
        assert await command.ends() in (1, 2)
        assert words in command.output
        assert "Traceback" not in command.output


async def test_a_taken_port_is_named_and_another_suggested(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with started(tmp_path, CODEACT_PORT=str(port)) as command:
            assert await command.ends() == 1
            assert f"Port {port} on 127.0.0.1 is taken" in command.output
            assert f"CODEACT_PORT={port + 1}" in command.output


async def test_a_second_server_on_the_same_data_is_refused(tmp_path):
    async with started(tmp_path) as first:
        await first.says("in your browser")
        async with started(tmp_path) as second:
            assert await second.ends() == 1
            assert "Another server is running" in second.output
        first.process.send_signal(signal.SIGINT)
        assert await first.ends() == 0


async def test_ctrl_c_while_the_model_is_being_fetched_stops_at_once(tmp_path):
    """Another process holds the model's lock, so the start waits."""
    from model_server.catalogue import DEFAULT
    from model_server.fetch import only_one

    models = tmp_path / "models"
    models.mkdir()
    async with only_one(models / f"{DEFAULT.file}.lock", print):
        async with started(tmp_path, CODEACT_MODEL_URL="", CODEACT_MODEL_DIR=str(models)) as command:
            await command.says("waiting for it")
            command.process.send_signal(signal.SIGINT)
            assert await command.ends() == 0
            assert "Traceback" not in command.output


async def test_a_second_ctrl_c_does_not_wait_for_open_connections(tmp_path):
    async with started(tmp_path) as command:
        await command.says("in your browser")
        url = command.output.split("Open ")[1].split()[0]
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
        await writer.drain()
        command.process.send_signal(signal.SIGINT)
        await command.says("Stopping")
        command.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(4):
            assert await command.ends() in (0, 130)
        writer.close()


def test_the_port_is_taken_before_anything_slow_begins():
    with bind("localhost", 0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_ipv6_loopback_is_loopback():
    with bind("::1", 0) as listener:
        assert listener.family == socket.AF_INET6


def test_a_full_disk_is_said_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(ground, "MIN_FREE_BYTES", 10**18)
    with pytest.raises(Refused, match=r"nearly full.*CODEACT_DATA_DIR"):
        check_disk(Settings(data_dir=tmp_path))


def test_the_claim_goes_with_the_block(tmp_path):
    with claim(tmp_path):
        with pytest.raises(Refused, match="Another server"):
            with claim(tmp_path):
                pass
    with claim(tmp_path):
        pass


def test_little_memory_is_a_warning():
    assert memory_words(0) == ""
    assert "Little memory" in memory_words(10**15)
