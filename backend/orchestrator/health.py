"""`/healthz`: the process answers. `/readyz`: each part, with words for what is not well."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from fastapi import APIRouter, Request, Response

from orchestrator.ports import Part
from orchestrator.protocol.base import Value
from orchestrator.wiring import Parts

router = APIRouter()

CHECK_S = 5.0
"""A part that does not say how it is within this time is not well."""


class PartState(Value):
    name: str
    ok: bool
    words: str


class Readiness(Value):
    """`ok`: every part is well, so a message can be answered."""

    ok: bool
    parts: list[PartState]


@router.get("/healthz")
async def healthz() -> dict[str, bool]:
    return {"ok": True}


@router.get("/readyz", responses={503: {"model": Readiness}})
async def readyz(request: Request, response: Response) -> Readiness:
    """200 when every part is well, else 503; the body is the same."""
    parts: Parts = request.app.state.parts
    states: tuple[Part, ...] = await asyncio.gather(
        _in_time("store", parts.store.check()),
        _in_time("bus", parts.bus.check()),
        _in_time("model", parts.model.check()),
        _in_time("sandbox", _sandbox(parts)),
    )
    if parts.turns.draining:
        states = (*states, Part(name="server", ok=False, words="This server is about to end, and begins nothing new."))
    ok = all(part.ok for part in states)
    response.status_code = 200 if ok else 503
    return Readiness(ok=ok, parts=[PartState(name=part.name, ok=part.ok, words=part.words) for part in states])


async def _sandbox(parts: Parts) -> Part:
    health = await parts.kernel.check()
    return Part(name="sandbox", ok=health.ok, words=health.words)


async def _in_time(name: str, check: Awaitable[Part]) -> Part:
    try:
        async with asyncio.timeout(CHECK_S):
            return await check
    except TimeoutError:
        return Part(name=name, ok=False, words=f"The {name} has not answered for {CHECK_S:.0f} seconds.")
    except Exception as error:  # a part that cannot even be asked is not well; readyz itself must answer
        return Part(name=name, ok=False, words=str(error) or type(error).__name__)
