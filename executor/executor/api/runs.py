"""Running cells: the routes of `executor.wire`'s contract."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import APIRouter, HTTPException, Response
from fastapi.responses import StreamingResponse

from executor.manager import Manager
from executor.sandbox.base import SandboxUnavailable
from executor.wire import Health, Id, RunRequest, SandboxStatus


async def _lines(manager: Manager, request: RunRequest) -> AsyncGenerator[bytes, None]:
    events = manager.run(request.conversation, request.cell, request.code, request.timeout_s, request.allow_stdin)
    async with aclosing(events):
        async for event in events:
            yield event.model_dump_json().encode() + b"\n"


def run_routes(manager: Manager) -> APIRouter:
    api = APIRouter()

    @api.get("/readyz")
    async def readyz(response: Response) -> Health:
        health = await manager.check()
        response.status_code = 200 if health.ok else 503
        return health

    @api.post("/v1/run")
    async def run(request: RunRequest) -> StreamingResponse:
        return StreamingResponse(_lines(manager, request), media_type="application/x-ndjson")

    @api.post("/v1/conversations/{conversation}/interrupt", status_code=204)
    async def interrupt(conversation: Id) -> None:
        await manager.interrupt(conversation)

    @api.post("/v1/conversations/{conversation}/prepare", status_code=204)
    async def prepare(conversation: Id) -> None:
        await manager.prepare(conversation)

    @api.post("/v1/conversations/{conversation}/restart", status_code=204)
    async def restart(conversation: Id) -> None:
        try:
            await manager.restart(conversation)
        except SandboxUnavailable as error:
            raise HTTPException(503, str(error)) from error

    @api.get("/v1/conversations/{conversation}")
    async def status(conversation: Id) -> SandboxStatus:
        return await manager.status(conversation)

    @api.delete("/v1/conversations/{conversation}", status_code=204)
    async def remove(conversation: Id) -> None:
        await manager.remove(conversation)

    return api
