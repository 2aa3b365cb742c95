"""How the model server is: one small HTTP answer, on a port of its own, that says `ready` only after a real token."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

import aiohttp
from aiohttp import web

State = Literal["fetching", "loading", "warming", "ready", "failed"]
ENGINE_CHECK_S = 3.0


@dataclass(slots=True)
class Health:
    """`detail`: what is being waited for, or why it failed."""

    model: str
    engine: str
    state: State = "loading"
    detail: str = ""
    checked_at: str = ""  # the engine's own health endpoint, asked on every look once it is ready

    async def answer(self, _: web.Request) -> web.Response:
        """GET /readyz: 200 when ready, 503 with the reason otherwise."""
        state, detail = self.state, self.detail
        if state == "ready" and self.checked_at and not await responds(self.checked_at):
            state, detail = "failed", "the engine does not answer"
        body = {"state": state, "model": self.model, "engine": self.engine, "detail": detail}
        return web.json_response(body, status=200 if state == "ready" else 503)


async def responds(url: str) -> bool:
    """Whether it answers 200 in time."""
    timeout = aiohttp.ClientTimeout(total=ENGINE_CHECK_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as http, http.get(url) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


@contextlib.asynccontextmanager
async def answering(health: Health, host: str, port: int) -> AsyncIterator[None]:
    """For as long as the block lasts. Raises OSError where the port is taken."""
    app = web.Application()
    app.router.add_get("/readyz", health.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()


async def ask(url: str) -> tuple[bool, str]:
    """Whether the model server at `url` (its health port) is ready, and its words."""
    timeout = aiohttp.ClientTimeout(total=ENGINE_CHECK_S + 2)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as http, http.get(f"{url}/readyz") as answer:
            said = await answer.json()
            words = f"{said['state']}: {said['model']} by {said['engine']}"
            return answer.status == 200, f"{words}, {said['detail']}" if said["detail"] else words
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
        return False, f"nothing ready at {url} ({error or type(error).__name__})"
