"""ASGI middleware around the whole app: counts requests and websockets, and writes a line of the access log for each.

A line names the route, not the address as it was asked: addresses hold names of files, queries hold codes and tokens. Of
the route's parameters only the conversation's id is written; headers and cookies never are.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.observability.counts import counts

log = logging.getLogger("codeact.access")

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

CONVERSATIONS = "/api/conversations/"

REASONS = {
    1000: "client",  # said good-bye
    1001: "client",  # the page was left
    1005: "client",
    1006: "lost",
    1009: "too_big",
    1011: "server_error",
    1012: "shutdown",
    1013: "overload",
}


class Observed:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._request(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        began, status = time.monotonic(), 0

        def answer(message: Message) -> Awaitable[None]:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            return send(message)

        try:
            await self._app(scope, receive, answer)
        finally:
            took = time.monotonic() - began
            method = scope["method"] if scope["method"] in METHODS else "other"
            counts.requests[method, f"{status // 100}xx" if status else "broken_off"] += 1
            counts.request_seconds.add(took)
            if log.isEnabledFor(logging.INFO):
                log.info("request", extra=_about(scope) | {"method": method, "status": status, "seconds": round(took, 4)})

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        began, is_open, reason = time.monotonic(), False, ""

        async def hear() -> Message:
            nonlocal reason
            message = await receive()
            if message["type"] == "websocket.disconnect":
                reason = reason or _why_gone(message)
            return message

        def answer(message: Message) -> Awaitable[None]:
            nonlocal is_open, reason
            kind = message["type"]
            if kind == "websocket.accept":
                is_open = True
                counts.websockets += 1
            elif kind == "websocket.close":
                reason = reason or _why_closed(message.get("code") or 1000, is_open)
            return send(message)

        try:
            await self._app(scope, hear, answer)
        finally:
            counts.websockets -= is_open
            counts.closes[reason or "lost"] += 1
            took = round(time.monotonic() - began, 1)
            log.info("websocket", extra=_about(scope) | {"reason": reason or "lost", "seconds": took})


def _why_gone(message: Message) -> str:
    """The other side has gone. Where it said so, uvicorn passes its reason on, be it empty; otherwise there is none."""
    code = message.get("code") or 1005
    return "lost" if code in (1005, 1006) and "reason" not in message else REASONS.get(code, "other")


def _why_closed(code: int, was_open: bool) -> str:
    """A close of ours."""
    if not was_open:
        return "refused"
    return "hung_up" if code >= 4000 else REASONS.get(code, "other") if code != 1000 else "server"


def _about(scope: Scope) -> dict[str, object]:
    """What of a request may be written down."""
    route = getattr(scope.get("route"), "path", "") or "-"
    client = scope.get("client")
    about: dict[str, object] = {"route": route, "client": client[0] if client else "-"}
    values = scope.get("path_params") or {}
    conversation = str(values.get("conversation") or (values.get("id") if route.startswith(CONVERSATIONS) else "") or "")
    return about | {"conversation": conversation} if ID.fullmatch(conversation) else about
