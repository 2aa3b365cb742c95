"""Files going out: one of them, or a range of it; or many as a zip file that is made on the way."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from executor.api.answers import SAFE, Cut, Download, FileRoute, disposition, refusal
from executor.api.bodies import model
from executor.api.disk import Desk, Disk
from executor.storage import names, packing, reading
from executor.storage.errors import StorageError
from executor.storage.ranges import Span, Unsatisfiable, wanted
from executor.wire import Id

BYTES = "application/octet-stream"
TYPE = r"^[a-zA-Z0-9.+-]{1,64}/[a-zA-Z0-9.+-]{1,100}(; ?charset=[a-zA-Z0-9-]{1,40})?$"


class RangeUnsatisfiable(StorageError):
    status, code = 416, "range_unsatisfiable"


class Pack(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    paths: Annotated[list[str], Field(min_length=1, max_length=1000)]
    name: Annotated[str, Field(max_length=200)] = "files.zip"


def download_routes(desk: Desk) -> APIRouter:
    api = APIRouter(route_class=FileRoute)

    @api.api_route("/file", methods=["GET", "HEAD"])
    async def read(
        conversation: Id, request: Request, path: str, type: Annotated[str, Query(pattern=TYPE)] = BYTES
    ) -> Response:
        """The bytes of a file as of now. A reader never takes a file that shrinks meanwhile for whole."""
        parts = names.entry(path)
        turn = await desk.disk.turn()
        try:
            file = await desk.disk.do(reading.open_file, desk.root(conversation), parts)
        except BaseException:
            turn.end()
            raise

        def release() -> None:
            turn.end()
            desk.disk.later(file.close)

        headers = {**SAFE, "Content-Type": type, "Content-Disposition": disposition(parts[-1])}
        return _sent(desk.disk, request, file, headers, release)

    @api.post("/archive")
    async def archive(conversation: Id, request: Request) -> Response:
        asked = await model(request, Pack)
        paths, root, most = [names.parse(path) for path in asked.paths], desk.root(conversation), desk.limits.workspace
        turn = await desk.disk.turn(heavy=True)
        try:
            contents = await desk.disk.do(packing.survey, root, paths, most)
        except BaseException:
            turn.end()
            raise
        zipped = Pull(packing.packed(root, paths, most))

        def release() -> None:
            turn.end()
            desk.disk.later(zipped.close)

        headers = {**SAFE, "Content-Type": "application/zip", "Content-Disposition": disposition(asked.name)}
        headers["Files-Left-Out"] = str(contents.left_out)
        return Download(_pulled(desk.disk, zipped), 200, headers, release)

    return api


def _sent(
    disk: Disk, request: Request, file: reading.OpenFile, headers: dict[str, str], release: Callable[[], None]
) -> Response:
    """The answer to a request for a file that is open now."""
    headers = {**headers, "ETag": file.etag, "Accept-Ranges": "bytes"}
    if file.etag in [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]:
        release()
        return Response(status_code=304, headers=headers)
    unchanged = request.headers.get("if-range", file.etag) == file.etag
    try:
        span, ranged = wanted(request.headers.get("range") if unchanged else None, file.size)
    except Unsatisfiable:
        release()
        refused = refusal(RangeUnsatisfiable(f"The file has {file.size} bytes. Ask for a range within them."))
        refused.headers["Content-Range"] = f"bytes */{file.size}"
        return refused
    headers["Content-Length"] = str(span.length)
    if ranged:
        headers["Content-Range"] = span.content_range()
    status = 206 if ranged else 200
    if request.method == "HEAD":
        release()
        return Response(status_code=status, headers=headers)
    return Download(_bytes(disk, file, span), status, headers, release)


async def _bytes(disk: Disk, file: reading.OpenFile, span: Span) -> AsyncIterator[bytes]:
    at = span.start
    while at < span.end:
        try:
            data = await disk.do(file.read, at, min(reading.CHUNK, span.end - at))
        except OSError as error:
            raise Cut from error
        if not data:
            raise Cut  # it has become shorter
        at += len(data)
        yield data


class Pull:
    """A generator that is run by threads, one at a time. `close` waits for the one that runs."""

    def __init__(self, source: Generator[bytes, None, None]) -> None:
        self._source = source
        self._lock = threading.Lock()

    def next(self) -> bytes | None:
        """None at the end. Raises what the generator raises."""
        with self._lock:
            return next(self._source, None)

    def close(self) -> None:
        with self._lock, suppress(OSError):
            self._source.close()


async def _pulled(disk: Disk, source: Pull) -> AsyncIterator[bytes]:
    while True:
        try:
            data = await disk.do(source.next)
        except (packing.Grown, StorageError, OSError) as error:
            raise Cut from error
        if data is None:
            return
        yield data
