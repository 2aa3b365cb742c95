"""The OpenAI-compatible door: `/v1/models` and `/v1/chat/completions`, each request a whole CodeAct turn."""

from __future__ import annotations

import logging
import secrets
import time
from contextlib import aclosing

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from orchestrator.errors import CodeActError, Invalid, NotFound, Refusable
from orchestrator.openai_api.answers import Answer, error_body, error_response, json_response
from orchestrator.openai_api.schemas import ChatRequest, Question, check, question
from orchestrator.openai_api.service import Door, finished_before_gone, new_id
from orchestrator.openai_api.streaming import EventStream
from orchestrator.problem import OpenAIProblem, told_as
from orchestrator.protocol.events import Via
from orchestrator.turns import title_of
from orchestrator.users.principal import who

log = logging.getLogger(__name__)
router = APIRouter(prefix="/v1", tags=["openai"], responses=told_as(OpenAIProblem))

ANY_MODEL = "codeact"
"""A model name that always means the one that is served."""
MAX_BODY = 4 * 2**20
HUNG_UP = 499
"""nginx's status for a client that closed the connection; nobody reads it."""


class UnknownModel(NotFound):
    """The request names a model that is not served here."""


@router.get("/models")
async def models(request: Request) -> Response:
    return json_response({"object": "list", "data": [_model(request, request.app.state.parts.model.name)]})


@router.get("/models/{name:path}")
async def model(request: Request, name: str) -> Response:
    try:
        return json_response(_model(request, name))
    except CodeActError as error:
        return error_response(error)


@router.post("/chat/completions")
async def chat_completions(request: Request) -> Response:
    """One turn. Errors before it begins have their HTTP status; in a stream that has begun they are its last event."""
    try:
        return await _answered(request)
    except CodeActError as error:
        return error_response(error)
    except Exception:
        mark = secrets.token_hex(4)
        log.exception("a chat completion failed [%s]", mark)
        return json_response(error_body(f"Something went wrong on the server (log mark {mark}).", 500), 500)


async def _answered(request: Request) -> Response:
    asked = _parsed(await _body(request))
    _model(request, asked.model)
    check(asked)
    door = await _opened(request, asked.conversation, question(asked))
    answer = Answer(f"chatcmpl-{door.turn}", request.app.state.parts.model.name, door.conversation)
    if asked.stream:
        return EventStream(door, answer, with_usage=asked.wants_usage)
    return await _whole(request, door, answer)


@router.api_route("/{path:path}", methods=["GET", "POST", "PUT", "DELETE", "PATCH"])
async def nothing_else(path: str) -> Response:
    words = f"There is no /v1/{path} here: this server has /v1/models and /v1/chat/completions."
    return json_response(error_body(words, 404, code="not_found"), 404)


async def _whole(request: Request, door: Door, answer: Answer) -> Response:
    content: list[str] = []

    async def collect() -> None:
        async with aclosing(door.events()) as batches:
            async for batch in batches:
                content.extend(answer.text.feed(event) for event in batch)

    try:
        if not await finished_before_gone(request.receive, collect()):
            return Response(status_code=HUNG_UP)
    finally:
        door.leave()
    return answer.whole("".join(content))


async def _opened(request: Request, conversation: str | None, asked: Question) -> Door:
    """A turn in the conversation, or in a new one, of which nothing is left when the turn is refused."""
    parts = request.app.state.parts
    user = who(request).user
    door = Door(parts.store, parts.bus, parts.turns, user, conversation or new_id())
    if conversation is not None:
        await door.open(asked.text, Via.API)
        return door
    if parts.turns.gate is not None:
        await parts.turns.gate.admit(user, door.conversation)
        parts.turns.gate.decided(door.conversation)  # and asked again when it is opened
    await parts.store.create_conversation(user, door.conversation, title_of(asked.said) or "", time.time())
    try:
        await door.open(asked.text, Via.API)
    except Refusable:
        await parts.store.delete(user, door.conversation)
        raise
    return door


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise Invalid(f"The request is larger than {MAX_BODY // 2**20} MiB.")
    return bytes(body)


def _parsed(body: bytes) -> ChatRequest:
    try:
        return ChatRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Invalid(f"{where or 'The body'}: {first['msg']}.", where or None) from None


def _model(request: Request, name: str) -> dict[str, object]:
    """The served model, if that is the one that is meant. Raises `UnknownModel`."""
    served = request.app.state.parts.model.name
    if name not in (served, ANY_MODEL):
        raise UnknownModel(f"There is no model {name!r} here: this server has {served!r}, which {ANY_MODEL!r} also means.")
    return {"id": served, "object": "model", "created": 0, "owned_by": "codeact"}
