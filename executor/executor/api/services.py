"""Services beside cells: the routes of `executor.wire_services`' contract."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, StreamingResponse

from executor.manager import Manager
from executor.services import Services, TooManyListeners
from executor.wire import Id
from executor.wire_services import (
    CompleteRequest,
    Completions,
    InputReply,
    Inspection,
    InspectRequest,
    SandboxUse,
    Variables,
)

ASKED_NO_MORE = "The code does not wait for a reply to this question (any more)."
TOO_MANY = "Too many listen to what sandboxes use. Try again later."


def service_routes(manager: Manager) -> APIRouter:
    api = APIRouter(prefix="/v1/conversations/{conversation}")
    services = Services(manager)

    @api.get("/variables")
    async def variables(conversation: Id) -> Variables:
        return await services.variables(conversation)

    @api.post("/complete")
    async def complete(conversation: Id, request: CompleteRequest) -> Completions:
        return await services.complete(conversation, request.code, request.cursor)

    @api.post("/inspect")
    async def inspect(conversation: Id, request: InspectRequest) -> Inspection:
        return await services.inspect(conversation, request.code, request.cursor, request.detail)

    @api.post("/cells/{cell}/input", status_code=204, response_model=None)
    async def reply(conversation: Id, cell: Id, reply: InputReply, fence: int | None = None) -> Response:
        """The question's id, which nobody can guess, is told to whoever drives the kernel alone: a fence may be shown, and
        must then be right."""
        if fence is not None:
            manager.claims.leases.check(conversation, fence)
        if not manager.reply(conversation, cell, reply.ask, reply.text):
            return JSONResponse({"words": ASKED_NO_MORE}, 404)
        return Response(status_code=204)

    @api.get("/usage", response_model=None)
    async def usage(conversation: Id) -> Response:
        uses = services.use(conversation)
        try:
            first = await anext(uses)
        except TooManyListeners:
            return JSONResponse({"words": TOO_MANY}, 429, {"Retry-After": "5"})
        return StreamingResponse(_lines(first, uses), media_type="application/x-ndjson")

    return api


async def _lines(first: SandboxUse, uses: AsyncGenerator[SandboxUse, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(uses):
        yield first.model_dump_json().encode() + b"\n"
        async for use in uses:
            yield use.model_dump_json().encode() + b"\n"
