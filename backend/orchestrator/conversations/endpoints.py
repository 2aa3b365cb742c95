"""`/api/conversations`: the list, one conversation's page, and what a person does to a conversation as a whole."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from orchestrator.conversations.schemas import Create, Rename
from orchestrator.conversations.service import Conversations
from orchestrator.journal import encode
from orchestrator.protocol.base import Id, Value
from orchestrator.protocol.frames import ConversationSummary
from orchestrator.protocol.page import ConversationList, ConversationPage
from orchestrator.users.principal import Who

router = APIRouter(prefix="/api/conversations", tags=["conversations"])


def _service(request: Request, who: Who) -> Conversations:
    parts = request.app.state.parts
    return Conversations(who.user, parts.store, parts.bus, parts.kernel, parts.turns, request.app.state.removals, time.time)


Service = Annotated[Conversations, Depends(_service)]


@router.get("", response_model=ConversationList)
async def list_conversations(
    service: Service, limit: Annotated[int, Query(ge=1, le=200)] = 50, before: float | None = None
) -> Response:
    """Newest first; `before` is the last line's `updated_at`."""
    return _json(await service.list(limit, before))


@router.put("/{id}", response_model=ConversationSummary)
async def create(service: Service, id: Id, body: Create | None = None) -> Response:
    return _json(await service.create(id, body.title if body else ""))


@router.get("/{id}", response_model=ConversationPage)
async def page(service: Service, id: Id) -> Response:
    return Response(await service.page(id), media_type="application/json", headers={"Cache-Control": "no-store"})


@router.patch("/{id}", response_model=ConversationSummary)
async def rename(service: Service, id: Id, body: Rename) -> Response:
    return _json(await service.rename(id, body.title))


@router.delete("/{id}", status_code=204)
async def delete(service: Service, id: Id) -> None:
    await service.delete(id)


def _json(value: Value) -> Response:
    return Response(encode(value), media_type="application/json", headers={"Cache-Control": "no-store"})
