"""`/api/admin/…`: what runs, what was used, quotas, models, settings, the audit. That only administrators get here is
checked twice: by address, in front of everything, and here. (Users and invitations: `users/admin_endpoints.py`.)"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from orchestrator.admin import schemas, settings_view
from orchestrator.admin.service import Operations
from orchestrator.protocol.base import Id
from orchestrator.quotas.schemas import Quota, Quotas
from orchestrator.users.principal import Administrator, administrator

router = APIRouter(prefix="/api/admin", tags=["administration"], dependencies=[Depends(administrator)])


def _operations(request: Request) -> Operations:
    operations: Operations = request.app.state.operations
    return operations


Running = Annotated[Operations, Depends(_operations)]


@router.get("/live")
async def live(running: Running) -> schemas.LiveNow:
    return await running.live()


@router.post("/turns/{conversation}/{turn}/stop", status_code=204)
async def stop_turn(running: Running, who: Administrator, conversation: Id, turn: Id) -> None:
    await running.stop_turn(who, conversation, turn)


@router.delete("/sandboxes/{conversation}", status_code=204)
async def end_sandbox(running: Running, who: Administrator, conversation: Id) -> None:
    await running.end_sandbox(who, conversation)


@router.get("/usage")
async def usage(running: Running, days: Annotated[int, Query(ge=1, le=366)] = 30) -> schemas.UsageReport:
    return await running.usage(days)


@router.get("/quotas")
async def quotas(running: Running) -> Quotas:
    return running.quotas()


@router.put("/quotas")
async def set_quota(running: Running, who: Administrator, body: Quota) -> Quotas:
    return await running.set_quota(who, body)


@router.get("/models")
async def models(running: Running) -> schemas.ModelList:
    return await running.models()


@router.get("/settings")
async def settings(request: Request) -> schemas.SettingList:
    return schemas.SettingList(settings=settings_view.shown(request.app.state.settings))


@router.get("/audit")
async def audit(running: Running, before: Annotated[int, Query(ge=1, le=2**63 - 1)] | None = None) -> schemas.AuditPage:
    return await running.audit(before)
