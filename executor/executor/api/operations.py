"""What operators look at: metrics. (`/healthz` and `/readyz` stand beside the runs, the audit beside the claims.)"""

from __future__ import annotations

from fastapi import APIRouter, Response

from executor.manager import Manager
from executor.metrics import CONTENT_TYPE, Counted, renderer


def operation_routes(manager: Manager) -> APIRouter:
    api = APIRouter()
    render = renderer(Counted(manager.counts))

    @api.get("/metrics")
    async def metrics() -> Response:
        return Response(render(), media_type=CONTENT_TYPE)

    return api
