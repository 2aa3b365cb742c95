"""What operators look at and end: metrics, and all sandboxes. (`/healthz` and `/readyz` stand beside the runs, the audit
beside the claims.)"""

from __future__ import annotations

from fastapi import APIRouter, Response

from executor.manager import Manager
from executor.metrics import CONTENT_TYPE, Counted, renderer
from executor.wire import Id, SandboxLine, Settled


def operation_routes(manager: Manager) -> APIRouter:
    api = APIRouter()
    render = renderer(Counted(manager.counts))

    @api.get("/metrics")
    async def metrics() -> Response:
        return Response(render(), media_type=CONTENT_TYPE)

    @api.get("/v1/sandboxes")
    async def sandboxes() -> list[SandboxLine]:
        return manager.sandboxes()

    @api.post("/v1/sandboxes/settle")
    async def settle() -> list[Settled]:
        """An answer that gets lost costs its reader what it told; nothing is ever told twice."""
        return manager.settle()

    @api.delete("/v1/sandboxes/{conversation}", status_code=204)
    async def end(conversation: Id) -> None:
        """Whoever drives it; files stay. No fence: it is the operator who says so."""
        await manager.end_sandbox(conversation)

    return api
