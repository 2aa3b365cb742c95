"""Leases and claims: the routes of `executor.wire_claims`' contract, and what a failure is in HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse

from executor.admission import Full, OverQuota
from executor.claims import Draining, NoSandbox
from executor.leases import Fenced, Lease
from executor.manager import Manager
from executor.sandbox.base import SandboxUnavailable
from executor.store import StoreUnavailable
from executor.wire import Fence, Id
from executor.wire_claims import (
    AuditEntry,
    Claim,
    ClaimRequest,
    LeaseGrant,
    LeaseRequest,
    RenewRequest,
)

BUSY_S, SHORT_S = "10", "2"

FAILURES: tuple[tuple[type[Exception], int, str | None], ...] = (  # the first that fits: status, and Retry-After
    (Fenced, 409, None),
    (NoSandbox, 404, None),
    (OverQuota, 429, BUSY_S),
    (Full, 503, BUSY_S),
    (Draining, 503, BUSY_S),
    (StoreUnavailable, 503, SHORT_S),
    (SandboxUnavailable, 503, SHORT_S),
)


def answer_failures(app: FastAPI) -> None:
    """Each of these, raised by any route, becomes its status with `{"words": …}` for people."""
    for kind, status, retry_after in FAILURES:
        app.add_exception_handler(kind, _handler(status, retry_after))


def _handler(status: int, retry_after: str | None) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handle(_: Request, error: Exception) -> Response:
        headers = {"Retry-After": retry_after} if retry_after else None
        return JSONResponse({"words": str(error)}, status, headers)

    return handle


def _grant(lease: Lease) -> LeaseGrant:
    return LeaseGrant(fence=lease.fence, lease_expires_at=lease.expires_at)


def claim_routes(manager: Manager) -> APIRouter:
    api = APIRouter(prefix="/v1")
    claims = manager.claims

    @api.put("/conversations/{conversation}/sandbox")
    async def claim(conversation: Id, request: ClaimRequest, response: Response) -> Claim:
        claim, made = await claims.claim(conversation, request)
        response.status_code = 201 if made else 200
        return claim

    @api.put("/conversations/{conversation}/lease")
    async def take(conversation: Id, request: LeaseRequest) -> LeaseGrant:
        claims.check_open()
        return _grant(await claims.acquire(conversation, request.owner, request.ttl_s, from_idle=True))

    @api.post("/conversations/{conversation}/lease")
    async def renew(conversation: Id, request: RenewRequest) -> LeaseGrant:
        return _grant(await claims.leases.renew(conversation, request.fence, request.ttl_s))

    @api.delete("/conversations/{conversation}/lease", status_code=204)
    async def release(conversation: Id, fence: Fence, mode: Literal["keep", "destroy"] = "keep") -> None:
        await claims.release(conversation, fence, destroy=mode == "destroy")

    @api.get("/audit")
    async def audit(after: int = 0, limit: Annotated[int, Query(ge=1, le=500)] = 500) -> list[AuditEntry]:
        return await manager.audit.after(after, limit)

    @api.post("/admin/drain", status_code=204)
    async def drain() -> None:
        manager.drain()

    return api
