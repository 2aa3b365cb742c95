"""Serves the built UI. Opening the page also lets an embedded model read its system prompt ahead."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.datastructures import State
from starlette.responses import FileResponse, PlainTextResponse, Response

from orchestrator.ports import ModelRequest
from orchestrator.wiring import Parts, ui_dir

router = APIRouter()

NOT_BUILT = "The page has not been built. Run `make setup` in the project's folder, then reload."
FOREVER = "public, max-age=31536000, immutable"
"""For files whose names hold a hash of their content."""


@router.get("/{path:path}", include_in_schema=False)
async def page(path: str, request: Request) -> Response:
    """A file of the UI, or its index for every address that is not one."""
    parts: Parts = request.app.state.parts
    root = ui_dir(parts.settings).resolve()
    if path and (file := _found(root, path)) is not None:
        return _file(file, hashed=path.startswith("assets/"))
    if Path(path).suffix or path.startswith(("api/", "v1/")):
        return PlainTextResponse("Not found", 404)
    index = root / "index.html"
    if not index.is_file():
        return PlainTextResponse(NOT_BUILT, 503)
    prefill_once(request.app.state, parts)
    return _file(index, hashed=False)


def _found(root: Path, path: str) -> Path | None:
    """The file below `root`, if there is one."""
    try:
        file = (root / path).resolve()
        return file if file.is_file() and file.is_relative_to(root) else None
    except (OSError, ValueError):  # no file can have that name: it is too long, or holds a NUL
        return None


def _file(path: Path, *, hashed: bool) -> FileResponse:
    return FileResponse(path, headers={"Cache-Control": FOREVER if hashed else "no-cache"})


def prefill_once(state: State, parts: Parts) -> None:
    """Once per life of the server, beside everything else."""
    if parts.settings.model_prefill and not hasattr(state, "prefill"):
        state.prefill = asyncio.create_task(_prefill(parts))


async def _prefill(parts: Parts) -> None:
    """One token after the system prompt: the server keeps what it has read for the first real message."""
    messages = [{"role": "system", "content": parts.profile.system}, {"role": "user", "content": "Hello"}]
    request = ModelRequest(messages=messages, stop=(), max_tokens=1, temperature=0.0)
    async with aclosing(parts.model.stream(request)) as signals:
        async for _ in signals:
            pass
