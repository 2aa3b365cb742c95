"""The files of a conversation, below `/v1/conversations/{conversation}`. They need no sandbox: the directory outlives it.

    GET    files?path=&cursor=&limit=          what is in a folder, a page at a time
    GET    file?path=&type=                    a file, or a range of it (also HEAD)
    PUT    file?path=&replace=&parents=        write a file; resumable, see `executor.api.uploads`
    DELETE file?path=                          a file, or a folder with all in it
    PUT    folder?path=&parents=               make a folder
    POST   move                                {"from", "to", "replace", "parents"}
    POST   archive                             {"paths", "name"}: a zip file of them
    POST   import?path=&source=&replace=&partial=   a zip file (the body, or one in the workspace) into a folder

Every refusal is `{"error": code, "words": cause and next step}`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from executor.api.answers import SAFE, FileRoute, as_json
from executor.api.bodies import model
from executor.api.disk import Desk, make_desk
from executor.api.downloads import download_routes
from executor.api.uploads import receive, upload_routes
from executor.sandbox.base import Limits
from executor.storage import changing, listing, names, reading, unpacking, writing
from executor.wire import Id


class Move(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Annotated[str, Field(alias="from")]
    to: str
    replace: bool = False
    parents: bool = False


def file_routes(root: Callable[[str], Path], limits: Limits) -> APIRouter:
    """`root` gives the directory of a conversation's workspace, which need not exist yet. Make it inside an event loop."""
    desk = make_desk(root, limits)
    api = APIRouter(prefix="/v1/conversations/{conversation}", route_class=FileRoute)
    for routes in (folder_routes, download_routes, upload_routes, import_routes):
        api.include_router(routes(desk))
    return api


async def sweep_for_ever(workspaces: Path) -> None:
    """Every hour, what was on its way into any workspace and was given up a day ago."""
    while True:
        await asyncio.to_thread(changing.sweep_all, workspaces)
        await asyncio.sleep(3600)


def folder_routes(desk: Desk) -> APIRouter:
    api, disk = APIRouter(route_class=FileRoute), desk.disk

    @api.get("/files")
    async def list_folder(
        conversation: Id, path: str = "", cursor: str = "", limit: Annotated[int, Query(ge=1, le=listing.MOST_LISTED)] = 200
    ) -> Response:
        parts = names.parse(path)
        async with disk.taking_turns():
            page = await disk.do(listing.page, desk.root(conversation), parts, cursor, limit)
            return as_json(asdict(page))

    @api.delete("/file")
    async def remove(conversation: Id, path: str) -> Response:
        parts = names.entry(path)
        async with disk.taking_turns():
            await disk.do(changing.remove, desk.root(conversation), parts)
            disk.sometime(partial(changing.sweep, desk.root(conversation)))
            return Response(status_code=204, headers=SAFE)

    @api.put("/folder")
    async def make_folder(conversation: Id, path: str, parents: bool = False) -> Response:
        parts = names.entry(path)
        async with disk.taking_turns():
            made = await disk.do(changing.make_folder, desk.root(conversation), parts, parents)
            return as_json({"path": path}, 201 if made else 200)

    @api.post("/move")
    async def move(conversation: Id, request: Request) -> Response:
        asked = await model(request, Move)
        before, after = names.entry(asked.source), names.entry(asked.to)
        async with disk.taking_turns():
            await disk.do(changing.move, desk.root(conversation), before, after, asked.replace, asked.parents)
            return as_json({"path": asked.to})

    return api


def import_routes(desk: Desk) -> APIRouter:
    api, disk = APIRouter(route_class=FileRoute), desk.disk

    @api.post("/import")
    async def import_zip(
        conversation: Id, request: Request, path: str = "", source: str = "", replace: bool = False, partial: bool = False
    ) -> Response:
        into, origin = names.parse(path), names.entry(source) if source else None
        terms = unpacking.Terms(desk.rooms, desk.limits.file_size, replace, partial)
        async with disk.taking_turns(heavy=True), zip_file(conversation, request, origin) as file:
            report = await disk.do(unpacking.unpack, desk.root(conversation), file, into, terms)
            return as_json(asdict(report))

    @asynccontextmanager
    async def zip_file(conversation: str, request: Request, origin: names.Parts | None) -> AsyncIterator[reading.OpenFile]:
        root = desk.root(conversation)
        if origin is not None:
            file = await disk.do(reading.open_file, root, origin)
            try:
                yield file
            finally:
                disk.later(file.close)
            return
        part = await disk.do(desk.writer.begin, root)
        try:
            await receive(desk, request, part, asyncio.Event())
            file = await disk.do(writing.open_part, root, part.id)
            try:
                yield file
            finally:
                disk.later(file.close)
        finally:
            disk.later(part.close)
            disk.later(partial(writing.discard, root, part.id))

    return api
