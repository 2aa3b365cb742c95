"""Several servers of one team: `codeact serve` processes that share a PostgreSQL, a Redis, an executor and a model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.executor_service import Executor, end
from tests.support.model_server import ScriptedModel
from tests.support.process import Served
from tests.support.scripts import Script


@dataclass
class Team:
    servers: list[Served]
    executor: Executor
    model: ScriptedModel
    store_url: str
    bus_url: str


@asynccontextmanager
async def team(
    place: Path, store_url: str, bus_url: str, script: Script, count: int = 2, **settings: str
) -> AsyncGenerator[Team, None]:
    """They start at once. Leaving the block ends all of them, and the sandboxes."""
    executor = await asyncio.to_thread(Executor, place / "executor", CODEACT_SANDBOX_WARM="0")
    shared = {
        "CODEACT_STORE_URL": store_url,
        "CODEACT_BUS_URL": bus_url,
        "CODEACT_KERNEL_URL": executor.url,
        "CODEACT_EXECUTOR_TOKEN": executor.token,
        **settings,
    }
    try:
        async with ScriptedModel(script) as model, AsyncExitStack() as stack:
            servers = []
            for number in range(count):
                directory = place / f"server{number}"
                directory.mkdir()
                servers.append(Served(directory, model.base_url, **shared))
            await asyncio.gather(*(stack.enter_async_context(server) for server in servers))
            yield Team(servers, executor, model, store_url, bus_url)
    finally:
        await end(executor)
