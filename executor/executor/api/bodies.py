"""What comes in: the bytes of an upload in blocks, and uploads that are continued by another request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from executor.api.answers import STALL_S
from executor.storage.errors import BadRequest, Conflict, StorageError, TooLarge
from executor.storage.reading import CHUNK

MOST_JSON = 1024**2
M = TypeVar("M", bound=BaseModel)


class Stalled(StorageError):
    status, code = 408, "stalled"


class Superseded(Conflict):
    code = "superseded"


class Receiving:
    """One request that adds to an upload; another one may end it."""

    def __init__(self) -> None:
        self.stopped = asyncio.Event()
        self.over = asyncio.Event()


class Uploads:
    """Which upload is being added to. A client whose connection broke comes back before we have noticed: the newcomer ends
    the request that still waits for the old connection, so that what has arrived does not change behind its back."""

    def __init__(self) -> None:
        self._running: dict[str, Receiving] = {}

    @asynccontextmanager
    async def alone(self, key: str) -> AsyncIterator[Receiving]:
        mine = Receiving()
        while (other := self._running.get(key)) is not None:
            other.stopped.set()
            await other.over.wait()
        self._running[key] = mine
        try:
            yield mine
        finally:
            del self._running[key]
            mine.over.set()


async def blocks(request: Request, stopped: asyncio.Event) -> AsyncGenerator[bytes, None]:
    """The body in blocks of some 256 KiB, until `stopped`. When it breaks off, what has come so far is yielded first.
    Raises ClientDisconnect, Stalled, Superseded."""
    chunks, held, size = request.stream(), list[bytes](), 0
    ended: Exception | None = None
    while ended is None:
        chunk: bytes | None = None
        try:
            chunk = await _next(chunks, stopped)
        except (ClientDisconnect, StorageError) as error:
            ended = error
        if chunk is not None:
            held.append(chunk)
            size += len(chunk)
        if size and (size >= CHUNK or chunk is None):
            yield b"".join(held)
            held, size = [], 0
        if chunk is None and ended is None:
            return
    raise ended


async def _chunk(chunks: AsyncGenerator[bytes, None]) -> bytes | None:
    """None at the end."""
    return await anext(chunks, None)


async def _next(chunks: AsyncGenerator[bytes, None], stopped: asyncio.Event) -> bytes | None:
    reading = asyncio.ensure_future(_chunk(chunks))
    stopping = asyncio.ensure_future(stopped.wait())
    try:
        await asyncio.wait({reading, stopping}, timeout=STALL_S, return_when=asyncio.FIRST_COMPLETED)
        if reading.done():
            return reading.result()
        if stopping.done():
            raise Superseded("Another request goes on with this upload.")
        raise Stalled("No bytes came for a minute. Go on with the upload from where it is, or begin it again.")
    finally:
        reading.cancel()
        stopping.cancel()
        await asyncio.gather(reading, stopping, return_exceptions=True)


async def model(request: Request, kind: type[M]) -> M:
    """The body as JSON, of a bounded size. Raises StorageError."""
    held, size = list[bytes](), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MOST_JSON:
            raise TooLarge(f"A request may have at most {MOST_JSON // 1024**2} MiB.")
        held.append(chunk)
    try:
        return kind.model_validate_json(b"".join(held))
    except ValidationError as error:
        places = ", ".join(".".join(map(str, one["loc"])) + f": {one['msg']}" for one in error.errors()[:5])
        raise BadRequest(f"The request is wrong: {places}.") from None


def content_length(request: Request) -> int | None:
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
