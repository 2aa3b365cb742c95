"""The manager over HTTP, for an executor that runs apart from the orchestrator.

Every request but `GET /healthz` carries `Authorization: Bearer <service token>`. A run is answered by NDJSON, one
`KernelEvent` a line, the last one a `Closed`; hanging up stops the cell.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException, Request

from executor import logs, tracing
from executor.api.claims import answer_failures, claim_routes
from executor.api.files import file_routes, sweep_for_ever
from executor.api.operations import operation_routes
from executor.api.runs import run_routes
from executor.api.services import service_routes
from executor.manager import Manager


def create_app(manager: Manager, token: str, keep: bool = False) -> FastAPI:
    """The application; it closes the manager when it ends, and with `keep` leaves sandboxes to the next life."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        manager.begin()
        sweeping = asyncio.create_task(sweep_for_ever(manager.workspaces))
        yield
        sweeping.cancel()
        await manager.close(keep)

    async def authorised(authorization: Annotated[str, Header()] = "") -> None:
        if not hmac.compare_digest(authorization.encode(), f"Bearer {token}".encode()):
            raise HTTPException(401, "The service token is missing or wrong.")

    async def traced(request: Request, traceparent: Annotated[str, Header()] = "") -> None:
        """What is done for a request is part of the caller's trace, and what is logged of it says whose it is."""
        tracing.enter(tracing.heard(traceparent))
        if conversation := request.path_params.get("conversation"):
            logs.about(conversation=conversation)

    app = FastAPI(title="CodeAct executor", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None,
                  telemetry=tracing.BY_US_ALONE)  # fmt: skip
    for routes in (run_routes, claim_routes, operation_routes, service_routes):
        app.include_router(routes(manager), dependencies=[Depends(authorised), Depends(traced)])

    def files_of(conversation: str) -> Path:
        """Somebody who works with files is there, and needs their sandbox."""
        slot = manager.slot_of(conversation)
        if slot is not None:
            slot.used = manager.clock()
        return manager.workspace_of(conversation)

    app.include_router(file_routes(files_of, manager.limits), dependencies=[Depends(authorised)])

    answer_failures(app)

    @app.get("/healthz")
    async def healthz() -> dict[str, bool]:
        return {"ok": True}

    return app
