"""Running cells: the routes of `executor.wire`'s contract."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

import orjson
from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse

from executor.claims import NOBODY
from executor.manager import Manager
from executor.wire import Fence, Health, Id, RunRequest, SandboxStatus
from executor.wire_claims import Interrupted, Owner

CallerOwner = Annotated[Owner, Header(alias="X-Owner")]


async def _lines(manager: Manager, request: RunRequest, fence: int) -> AsyncGenerator[bytes, None]:
    events = manager.run(request.conversation, request.cell, request.code, request.timeout_s, request.allow_stdin, fence)
    async with aclosing(events):
        async for event in events:
            yield orjson.dumps(event.model_dump(), option=orjson.OPT_APPEND_NEWLINE)


def run_routes(manager: Manager) -> APIRouter:
    """Whoever drives a kernel shows the fence of its lease, or is given one in its name (`Claims.right`)."""
    api = APIRouter()
    right = manager.claims.right

    @api.get("/readyz")
    async def readyz(response: Response) -> Health:
        health = await manager.check()
        response.status_code = 200 if health.ok else 503
        return health

    @api.post("/v1/run")
    async def run(request: RunRequest, owner: CallerOwner = NOBODY) -> StreamingResponse:
        fence = await right(request.conversation, request.fence, owner)
        return StreamingResponse(_lines(manager, request, fence), media_type="application/x-ndjson")

    @api.post("/v1/conversations/{conversation}/interrupt", status_code=204, response_model=None)
    async def interrupt(
        conversation: Id, fence: Fence | None = None, wait: bool = False, owner: CallerOwner = NOBODY
    ) -> Response:
        await right(conversation, fence, owner)
        if not wait:
            await manager.interrupt(conversation)
            return Response(status_code=204)
        interrupted: Interrupted = await manager.interrupted(conversation)
        return Response(interrupted.model_dump_json(), media_type="application/json")

    @api.post("/v1/conversations/{conversation}/prepare", status_code=204)
    async def prepare(conversation: Id, fence: Fence | None = None, owner: CallerOwner = NOBODY) -> None:
        await right(conversation, fence, owner)
        await manager.prepare(conversation)

    @api.post("/v1/conversations/{conversation}/restart", status_code=204)
    async def restart(conversation: Id, fence: Fence | None = None, owner: CallerOwner = NOBODY) -> None:
        await right(conversation, fence, owner)
        await manager.restart(conversation)

    @api.get("/v1/conversations/{conversation}")
    async def status(conversation: Id) -> SandboxStatus:
        return await manager.status(conversation)

    @api.delete("/v1/conversations/{conversation}", status_code=204)
    async def remove(conversation: Id, fence: Fence | None = None, owner: CallerOwner = NOBODY) -> None:
        await right(conversation, fence, owner)
        await manager.remove(conversation)

    return api
