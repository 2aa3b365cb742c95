"""How files and refusals go out: `{"error": code, "words": …}`, and streams that end honestly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from executor.storage.errors import Busy, StorageError, WrongOffset

STALL_S = 60.0  # without a byte going in or out, after which a transfer is given up
SAFE = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox", "Cache-Control": "no-store"}


class Cut(Exception):
    """What was being sent cannot be sent to its end. The connection is closed, so that nobody takes it for whole."""


class FileRoute(APIRoute):
    """A route whose refusals are all of one form."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await handler(request)
            except StorageError as error:
                return refusal(error)
            except RequestValidationError as error:
                places = ", ".join(".".join(map(str, one["loc"])) + f": {one['msg']}" for one in error.errors())
                return JSONResponse({"error": "bad_request", "words": f"The request is wrong: {places}."}, 400, SAFE)
            except ClientDisconnect:
                return Response(status_code=400)  # nobody reads it

        return answered


def refusal(error: StorageError) -> JSONResponse:
    headers = dict(SAFE)
    if isinstance(error, WrongOffset):
        headers["Upload-Offset"] = str(error.offset)
    if isinstance(error, Busy):
        headers["Retry-After"] = "1"
    return JSONResponse({"error": error.code, "words": error.words, **error.facts}, error.status, headers)


class Download(StreamingResponse):
    """A stream that takes no longer than the reader needs, and is seen to be cut when it is. `release` is called once it is
    over, however it ended."""

    def __init__(
        self, content: AsyncIterator[bytes], status: int, headers: dict[str, str], release: Callable[[], None]
    ) -> None:
        super().__init__(content, status, headers)
        self._release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._release()

    async def stream_response(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async for chunk in self.body_iterator:
                async with asyncio.timeout(STALL_S):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except (Cut, TimeoutError):
            return  # without a last message: the server closes the connection
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def disposition(name: str) -> str:
    """`attachment` with the name in two spellings (RFC 6266): ASCII for old readers, and RFC 5987."""
    plain = "".join(c if " " <= c <= "~" and c not in '"\\%' else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def as_json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(body, status, {**SAFE, **(headers or {})}, "application/json")
