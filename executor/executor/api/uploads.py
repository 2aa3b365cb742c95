"""Files coming in: whole, or in parts that survive a broken connection.

The parts follow the header fields and methods of the IETF's "Resumable Uploads for HTTP"
(draft-ietf-httpbis-resumable-upload), without its interim responses (104), which this server cannot send. So a client that
wants to be able to go on asks for the upload first: `PUT …/file` with `Upload-Complete: ?0` and an empty (or first) part is
answered by 201 and the upload's `Location`. There, `HEAD` tells the `Upload-Offset`; `PATCH` (`application/partial-upload`,
with `Upload-Offset`, and `Upload-Complete: ?1` on the last) appends at exactly that place, or is answered by 409 and the
right one; `DELETE` gives it up. One that is not touched for a day is given up, too.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Request, Response

from executor.api.answers import SAFE, FileRoute, as_json
from executor.api.bodies import Uploads, blocks, content_length
from executor.api.disk import Desk
from executor.storage import changing, names, writing
from executor.storage.errors import BadRequest, StorageError
from executor.wire import Id

PARTIAL = "application/partial-upload"


class WrongType(StorageError):
    status, code = 415, "wrong_type"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a file is to go. An upload's own address carries it along: nothing is kept here but the bytes."""

    path: str
    replace: bool
    parents: bool
    length: int | None  # of the whole file, in bytes; None when it was not told

    @property
    def parts(self) -> names.Parts:
        return names.entry(self.path)

    def query(self) -> str:
        fields = {"path": self.path, "replace": str(self.replace).lower(), "parents": str(self.parents).lower()}
        return urlencode(fields if self.length is None else {**fields, "length": str(self.length)})

    def check(self, offset: int, complete: bool) -> None:
        """Raises BadRequest when so many bytes contradict the announced length."""
        if self.length is not None and (offset > self.length or (complete and offset < self.length)):
            raise BadRequest(f"{self.length} bytes were announced, and {offset} have come. Begin the upload again.")


def target(
    path: str, replace: bool = True, parents: bool = False, length: Annotated[int | None, Query(ge=0, lt=2**60)] = None
) -> Target:
    return Target(path, replace, parents, length)


ToTarget = Annotated[Target, Depends(target)]


def upload_routes(desk: Desk) -> APIRouter:
    api = APIRouter(route_class=FileRoute)
    uploads = Uploads()
    disk = desk.disk

    async def publish(conversation: str, id: str, to: Target, size: int) -> Response:
        existed = await disk.do(writing.publish, desk.root(conversation), id, to.parts, to.replace, to.parents)
        return as_json({"path": to.path, "size": size}, 200 if existed else 201, {"Upload-Complete": "?1"})

    @api.put("/file")
    async def write(conversation: Id, request: Request, to: ToTarget) -> Response:
        """A file, whole; or the beginning of an upload in parts (`Upload-Complete: ?0`)."""
        parts, path = to.parts, desk.root(conversation)
        complete = _flag(request, "upload-complete", default=True)
        announced = _number(request, "upload-length")
        to = to if announced is None else Target(to.path, to.replace, to.parents, announced)
        async with disk.taking_turns():
            disk.sometime(partial(changing.sweep, path))
            await disk.do(writing.check, path, parts, to.replace, to.parents)
            part, kept = await disk.do(desk.writer.begin, path), False
            try:
                await receive(desk, request, part, asyncio.Event(), to)
                to.check(part.offset, complete)
                if complete:
                    answer = await publish(conversation, part.id, to, part.offset)
                else:
                    there = request.url.path.removesuffix("/file") + f"/uploads/{part.id}?{to.query()}"
                    answer = Response(status_code=201, headers={**_state(desk, part.offset, to), "Location": there})
                kept = True
                return answer
            finally:
                disk.later(part.close)
                if not kept:
                    disk.later(partial(writing.discard, path, part.id))

    @api.head("/uploads/{upload}")
    async def offset(conversation: Id, upload: str, to: ToTarget) -> Response:
        async with uploads.alone(f"{conversation}/{upload}"):
            size = await disk.do(writing.arrived, desk.root(conversation), upload)
            return Response(status_code=204, headers=_state(desk, size, to))

    @api.patch("/uploads/{upload}")
    async def append(conversation: Id, upload: str, request: Request, to: ToTarget) -> Response:
        if request.headers.get("content-type") != PARTIAL:
            raise WrongType(f"A part of an upload is sent as {PARTIAL}.")
        at, complete = _number(request, "upload-offset"), _flag(request, "upload-complete", default=None)
        if at is None:
            raise BadRequest("Upload-Offset is missing. Ask for it with HEAD.")
        async with uploads.alone(f"{conversation}/{upload}") as receiving, disk.taking_turns():
            part = await disk.do(desk.writer.resume, desk.root(conversation), upload, at)
            try:
                await receive(desk, request, part, receiving.stopped, to)
                to.check(part.offset, complete)
                if complete:
                    return await publish(conversation, upload, to, part.offset)
                return Response(status_code=204, headers=_state(desk, part.offset, to))
            finally:
                disk.later(part.close)

    @api.delete("/uploads/{upload}", status_code=204)
    async def give_up(conversation: Id, upload: str) -> Response:
        async with uploads.alone(f"{conversation}/{upload}"):
            await disk.do(writing.discard, desk.root(conversation), upload)
            return Response(status_code=204, headers=SAFE)

    return api


async def receive(
    desk: Desk, request: Request, part: writing.Incoming, stopped: asyncio.Event, to: Target | None = None
) -> None:
    """The body goes to the part, until `stopped`. What has come stays there when it breaks off."""
    if announced := content_length(request):
        if to is not None:
            to.check(part.offset + announced, complete=False)
        await desk.disk.do(part.expect, announced)
    async for block in blocks(request, stopped):
        await desk.disk.do(part.write, block)


def _state(desk: Desk, offset: int, to: Target) -> dict[str, str]:
    limit = f"max-size={desk.limits.file_size}, max-age={int(changing.ABANDONED_S)}"
    state = {**SAFE, "Upload-Offset": str(offset), "Upload-Complete": "?0", "Upload-Limit": limit}
    return state if to.length is None else {**state, "Upload-Length": str(to.length)}


def _number(request: Request, name: str) -> int | None:
    text = request.headers.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise BadRequest(f"{name} is a number of bytes.")
    return int(text)


def _flag(request: Request, name: str, default: bool | None) -> bool:
    text = request.headers.get(name)
    if text is None and default is not None:
        return default
    if text not in ("?0", "?1"):
        raise BadRequest(f"{name} is ?1 on the last part of an upload, and ?0 before that.")
    return text == "?1"
