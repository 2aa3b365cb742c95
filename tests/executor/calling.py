"""A real executor service for tests, and callers that claim and run."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager

import aiohttp
import uvicorn
from pydantic import TypeAdapter

from executor.api.app import create_app
from executor.wire import KernelEvent
from tests.support.kernels import managing

TOKEN = "a service token"
EVENT = TypeAdapter(KernelEvent)


class Caller:
    """An orchestrator: a name, and what it asks for."""

    def __init__(self, http: aiohttp.ClientSession, owner: str) -> None:
        self.http, self.owner = http, owner

    async def send(self, method: str, path: str, **more) -> tuple[int, dict]:
        async with self.http.request(method, f"/v1/conversations/{path}", **more) as answer:
            text = await answer.text()
            self.retry_after = answer.headers.get("Retry-After")
            return answer.status, json.loads(text) if text else {}

    async def claim(self, conversation: str = "c", **more) -> tuple[int, dict]:
        return await self.send("PUT", f"{conversation}/sandbox", json={"owner": self.owner, **more})

    async def run(self, code: str, fence: int | None = None, conversation: str = "c") -> tuple[int, list]:
        body = {"conversation": conversation, "cell": "x", "code": code, "timeout_s": 60, "fence": fence}
        async with self.http.post("/v1/run", json=body, headers={"X-Owner": self.owner}) as answer:
            if answer.status != 200:
                return answer.status, [await answer.json()]
            return 200, [EVENT.validate_json(line) async for line in answer.content]

    async def text(self, code: str, fence: int | None = None) -> str:
        status, events = await self.run(code, fence)
        assert status == 200, events
        return "".join(event.text for event in events if event.type == "stream")


@asynccontextmanager
async def calling(data_dir, **settings):
    """A real server; gives the manager and a maker of callers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with managing(data_dir, **settings) as manager:
            server = uvicorn.Server(uvicorn.Config(create_app(manager, TOKEN), log_level="warning"))
            serving = asyncio.create_task(server.serve([listener]))
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            unbounded = aiohttp.TCPConnector(limit=0)
            headers = {"Authorization": f"Bearer {TOKEN}"}
            timeout = aiohttp.ClientTimeout(total=None)
            async with aiohttp.ClientSession(url, headers=headers, connector=unbounded, timeout=timeout) as http:
                yield manager, lambda owner: Caller(http, owner)
            server.should_exit = True
            await serving
