"""`/api/admin/users` and `/api/admin/invites`. That only administrators get here is checked twice: by address, in front of
everything, and here."""

from __future__ import annotations

from fastapi import APIRouter, Request

from orchestrator.protocol.base import Id
from orchestrator.users.endpoints import Everybody, address
from orchestrator.users.principal import Administrator
from orchestrator.users.schemas import (
    ChangeUser,
    InviteList,
    MadeInvite,
    MakeInvite,
    ResetLink,
    UserLine,
    UserList,
)

router = APIRouter(prefix="/api/admin", tags=["administration"])


@router.get("/users")
async def users(there: Everybody, who: Administrator) -> UserList:
    return await there.administration.users()


@router.patch("/users/{id}")
async def change(there: Everybody, who: Administrator, id: Id, body: ChangeUser) -> UserLine:
    return await there.administration.change(who, id, body)


@router.post("/users/{id}/reset")
async def offer_reset(request: Request, there: Everybody, who: Administrator, id: Id) -> ResetLink:
    return await there.administration.offer_reset(who, id, address(request).base(request.scope))


@router.get("/invites")
async def invitations(there: Everybody, who: Administrator) -> InviteList:
    return await there.administration.invitations()


@router.post("/invites")
async def invite(request: Request, there: Everybody, who: Administrator, body: MakeInvite) -> MadeInvite:
    return await there.administration.invite(who, body, address(request).base(request.scope))


@router.delete("/invites/{id}", status_code=204)
async def withdraw(there: Everybody, who: Administrator, id: Id) -> None:
    await there.administration.withdraw(who, id)
