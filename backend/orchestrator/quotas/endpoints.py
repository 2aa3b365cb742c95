"""`/api/quota`: what one may use, and what is left of it."""

from __future__ import annotations

from fastapi import APIRouter, Request

from orchestrator.quotas.schemas import QuotaList, line
from orchestrator.quotas.service import Quotas
from orchestrator.users.principal import Who

router = APIRouter(prefix="/api/quota", tags=["quotas"])


@router.get("")
async def quota(request: Request, who: Who) -> QuotaList:
    quotas: Quotas | None = request.app.state.quotas
    if quotas is None:
        return QuotaList(limits=[])
    return QuotaList(limits=[line(standing) for standing in await quotas.standings(who.user)])
