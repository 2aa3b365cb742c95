"""How errors look over HTTP, for the app's OpenAPI document."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from orchestrator.protocol.base import Value


class Problem(Value):
    """`error` is a name for programs, `detail` says cause and next step to people."""

    error: str
    detail: str


class OpenAIProblemDetail(Value):
    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIProblem(Value):
    """As OpenAI's clients expect it."""

    error: OpenAIProblemDetail


def told_as(problem: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an app or a router whose errors look so."""
    return {status: {"model": problem} for status in ("4XX", 422, 500, 502, 503)}
