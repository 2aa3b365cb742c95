"""`python -m model_server fetch` with the hub's own client, against a hub that stands in on loopback and may refuse."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from model_server.catalogue import BY_ID, DEFAULT_VLLM, Model
from tests.model_server.vllm.server import PYTHON

pytestmark = pytest.mark.timeout(300)

FILES = {"config.json": b"{}", "tokenizer.json": b'{"model": 1}', "model.safetensors": bytes(range(256)) * 400}


class Hub:
    """One repository. `status` other than 200: how it refuses; `requests`: the files it was asked for."""

    def __init__(self, model: Model, status: int = 200) -> None:
        self.model, self.status, self.requests = model, status, []
        self.app = web.Application()
        self.app.router.add_get("/api/models/{owner}/{name}/revision/{revision}", self.info)
        self.app.router.add_route("*", "/{owner}/{name}/resolve/{revision}/{file}", self.file)
        self.app.router.add_get("/api/models/{owner}/{name}/tree/{revision}", self.tree)
        self.app.router.add_get("/api/models/{owner}/{name}/tree/{revision}/{rest:.*}", self.tree)

    def refusal(self) -> web.Response | None:
        match self.status:
            case 200:
                return None
            case 403:
                headers = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model is restricted"}
            case _:
                headers = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
        return web.json_response({"error": headers["X-Error-Message"]}, status=self.status, headers=headers)

    async def info(self, request: web.Request) -> web.Response:
        assert request.match_info["revision"] == self.model.revision
        files = [{"rfilename": name} for name in FILES]
        body = {"id": self.model.repository, "sha": self.model.revision, "siblings": files, "private": False, "tags": []}
        return self.refusal() or web.json_response(body)

    async def tree(self, _: web.Request) -> web.Response:
        listed = [
            {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for name, data in FILES.items()
        ]
        return self.refusal() or web.json_response(listed)

    async def file(self, request: web.Request) -> web.Response:
        name = request.match_info["file"]
        if request.method == "GET":
            self.requests.append(name)
        if refusal := self.refusal():
            return refusal
        headers = {"ETag": f'"{hashlib.sha256(FILES[name]).hexdigest()}"', "X-Repo-Commit": self.model.revision}
        return web.Response(body=FILES[name], headers=headers)


@asynccontextmanager
async def hub(model: Model, status: int = 200) -> AsyncIterator[tuple[str, Hub]]:
    stand_in = Hub(model, status)
    runner = web.AppRunner(stand_in.app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", stand_in
    finally:
        await runner.cleanup()


async def fetch(url: str, model: Model, directory: Path, **settings: str) -> tuple[int | None, str, str]:
    environment = os.environ | {
        "CODEACT_MODEL_ENGINE": "vllm", "CODEACT_VLLM_PYTHON": str(PYTHON), "CODEACT_MODEL_DIR": str(directory),
        "HF_ENDPOINT": url, "HF_HOME": str(directory / "home"), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1",
    } | settings  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "model_server", "fetch", model.id, env=environment, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, errors = await process.communicate()
    return process.returncode, out.decode(), errors.decode()


async def test_a_model_is_fetched_whole_at_its_commit_and_not_again(tmp_path):
    async with hub(DEFAULT_VLLM) as (url, served):
        status, place, said = await fetch(url, DEFAULT_VLLM, tmp_path)
        assert status == 0, said
        assert {path.name: path.read_bytes() for path in Path(place.strip()).iterdir() if path.name in FILES} == FILES
        assert sorted(served.requests) == sorted(FILES)
        assert (await fetch(url, DEFAULT_VLLM, tmp_path))[:2] == (0, place)
        assert len(served.requests) == len(FILES)


@pytest.mark.parametrize(("refused", "words"), [(403, "licence has not been accepted"), (404, "no such model or revision")])
async def test_a_refusal_of_the_hub_is_explained(tmp_path, refused, words):
    model = BY_ID["llama-3.3-70b-instruct"]
    async with hub(model, refused) as (url, _):
        status, out, said = await fetch(url, model, tmp_path)
    assert status == 1
    assert not out
    assert words in said.splitlines()[-1], said


async def test_a_hub_that_is_not_there_is_explained(tmp_path):
    status, _, said = await fetch("http://127.0.0.1:9", DEFAULT_VLLM, tmp_path)
    assert status == 1
    assert "hub cannot be reached" in said.splitlines()[-1], said


async def test_a_python_without_the_hubs_client_is_named(tmp_path):
    status, _, said = await fetch("http://127.0.0.1:9", DEFAULT_VLLM, tmp_path, CODEACT_VLLM_PYTHON="/no/python")
    assert status == 1
    assert "/no/python cannot be started" in said
