"""A turn in OpenAI's shapes: one answer, a stream of chunks, or an error."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import orjson
from fastapi import Response

from orchestrator.errors import CodeActError, Invalid, OverQuota
from orchestrator.openai_api.rendering import Markdown
from orchestrator.protocol.events import TurnClosed, TurnOutcome

FINISH = {
    TurnOutcome.ANSWERED: "stop",
    TurnOutcome.STOPPED: "stop",
    TurnOutcome.EXECUTION_LIMIT: "length",
    TurnOutcome.TIME_LIMIT: "length",
    TurnOutcome.TOKEN_LIMIT: "length",
    TurnOutcome.REPEATING: "length",
}
"""Not answered, but as far as it may go: `length`. What is not here is an error."""

STATUS = {TurnOutcome.MODEL_FAILED: 502, TurnOutcome.SANDBOX_FAILED: 503, TurnOutcome.LOST: 500}


def json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), status, headers, media_type="application/json")


def error_body(words: str, status: int, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": words, "type": kind, "param": param, "code": code}}


def error_response(error: CodeActError) -> Response:
    param = error.param if isinstance(error, Invalid) else None
    code = "insufficient_quota" if isinstance(error, OverQuota) else None
    return json_response(error_body(error.words, error.status, param, code), error.status, error.headers())


@dataclass
class Answer:
    """One completion in the making. `model` is the name the client is told."""

    id: str
    model: str
    conversation: str
    created: int = field(default_factory=lambda: int(time.time()))
    text: Markdown = field(default_factory=Markdown)

    @property
    def failed(self) -> TurnClosed | None:
        """The turn's end when it is an error."""
        closed = self.text.closed
        return closed if closed is not None and closed.outcome not in FINISH else None

    def whole(self, content: str) -> Response:
        """The turn has closed: the answer, or its error."""
        if self.failed:
            return json_response(self.error(self.failed), STATUS[self.failed.outcome])
        message = {"role": "assistant", "content": content, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._finish()}
        return json_response(
            self._envelope("chat.completion") | {"choices": [choice], "usage": self.usage(), "codeact": self.codeact()}
        )

    def first(self) -> bytes:
        """The first chunk already says which conversation this is."""
        return self._chunk({"role": "assistant", "content": ""}, None, codeact={"conversation_id": self.conversation})

    def piece(self, content: str) -> bytes:
        return self._chunk({"content": content}, None)

    def last(self, *, with_usage: bool) -> bytes:
        """What ends the stream, `[DONE]` included."""
        done = b"data: [DONE]\n\n"
        if self.failed:
            return _sse(self.error(self.failed)) + done
        end = self._chunk({}, self._finish(), codeact=self.codeact())
        if not with_usage:
            return end + done
        return end + _sse(self._envelope("chat.completion.chunk") | {"choices": [], "usage": self.usage()}) + done

    def error(self, closed: TurnClosed) -> dict[str, Any]:
        return error_body(closed.words, STATUS[closed.outcome], code=closed.outcome.value) | {"codeact": self.codeact()}

    def broken(self, words: str) -> bytes:
        """The stream has begun and cannot go on."""
        return _sse(error_body(words, 500) | {"codeact": {"conversation_id": self.conversation}})

    def codeact(self) -> dict[str, Any]:
        closed = self.text.closed
        return {
            "conversation_id": self.conversation,
            "outcome": closed.outcome.value if closed else None,
            "words": closed.words if closed else "",
            "cells": self.text.cells,
        }

    def usage(self) -> dict[str, Any]:
        """Of all the turn's requests to the model."""
        text = self.text
        return {
            "prompt_tokens": text.prompt_tokens,
            "completion_tokens": text.completion_tokens,
            "total_tokens": text.prompt_tokens + text.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": text.cached_tokens},
        }

    def _finish(self) -> str:
        return FINISH[self.text.closed.outcome] if self.text.closed else "stop"

    def _envelope(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _chunk(self, delta: dict[str, Any], finish: str | None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _sse(self._envelope("chat.completion.chunk") | {"choices": [choice]} | more)


def _sse(body: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(body) + b"\n\n"
