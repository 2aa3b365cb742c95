"""`/api/auth`: signing in and out, and one's own account. Bodies and answers: `schemas.py`."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request, Response

from orchestrator.errors import NotFound
from orchestrator.protocol.base import Id
from orchestrator.users.door import Address, session_cookie
from orchestrator.users.people import People
from orchestrator.users.principal import AccountHolder, found
from orchestrator.users.schemas import (
    AuthState,
    ChangePassword,
    Login,
    MadeToken,
    MakeToken,
    Register,
    Reset,
    SessionList,
    TokenList,
    User,
)
from orchestrator.users.secret import digest
from orchestrator.users.service import Client, Newcomer

router = APIRouter(prefix="/api/auth", tags=["accounts"])


def people(request: Request) -> People:
    """Raises `NotFound` on a server without accounts."""
    found = cast(People | None, request.app.state.people)
    if found is None:
        raise NotFound("This server has no accounts: CODEACT_AUTH is none.")
    return found


def client(request: Request) -> Client:
    return Client(request.client.host if request.client else "", request.headers.get("user-agent", ""))


def address(request: Request) -> Address:
    return Address(request.app.state.settings.public_url)


Everybody = Annotated[People, Depends(people)]
From = Annotated[Client, Depends(client)]


@router.get("/state")
async def state(request: Request) -> AuthState:
    """Who is signed in, and how one can."""
    there = cast(People | None, request.app.state.people)
    principal = found(request.scope)
    if there is None:
        user = User(id=principal.user, name=principal.name, email="", role=principal.role) if principal else None
        return AuthState(mode="none", registration="closed", oidc=[], user=user)
    return await _state(there, principal.user if principal else None)


@router.post("/register")
async def register(request: Request, response: Response, there: Everybody, body: Register, at: From) -> AuthState:
    newcomer = Newcomer(body.email, body.name, digest(body.invite.get_secret_value()) if body.invite else "")
    secret = await there.service.register(newcomer, body.password.get_secret_value(), at)
    return await _signed_in(request, response, there, secret)


@router.post("/login")
async def login(request: Request, response: Response, there: Everybody, body: Login, at: From) -> AuthState:
    secret = await there.service.sign_in_with(body.email, body.password.get_secret_value(), at)
    return await _signed_in(request, response, there, secret)


@router.post("/logout", status_code=204)
async def logout(request: Request, response: Response, there: Everybody) -> None:
    principal = found(request.scope)
    if principal is not None and principal.how == "session":
        await there.service.sign_out(principal)
    response.headers.append("Set-Cookie", session_cookie("", address(request).secure(request.scope)))


@router.post("/password")
async def change_password(
    request: Request, response: Response, there: Everybody, who: AccountHolder, body: ChangePassword, at: From
) -> AuthState:
    old = body.old.get_secret_value() if body.old else ""
    secret = await there.service.change_password(who, old, body.new.get_secret_value(), at)
    return await _signed_in(request, response, there, secret)


@router.post("/reset")
async def reset(request: Request, response: Response, there: Everybody, body: Reset, at: From) -> AuthState:
    secret = await there.service.reset_password(body.token.get_secret_value(), body.password.get_secret_value(), at)
    return await _signed_in(request, response, there, secret)


@router.get("/sessions")
async def sessions(there: Everybody, who: AccountHolder) -> SessionList:
    return await there.own.sessions(who)


@router.delete("/sessions/{id}", status_code=204)
async def end_session(there: Everybody, who: AccountHolder, id: Id) -> None:
    await there.own.end_session(who, id)


@router.get("/tokens")
async def tokens(there: Everybody, who: AccountHolder) -> TokenList:
    return await there.own.tokens(who)


@router.post("/tokens")
async def make_token(there: Everybody, who: AccountHolder, body: MakeToken) -> MadeToken:
    return await there.own.make_token(who, body)


@router.delete("/tokens/{id}", status_code=204)
async def end_token(there: Everybody, who: AccountHolder, id: Id) -> None:
    await there.own.end_token(who, id)


async def _signed_in(request: Request, response: Response, there: People, secret: str) -> AuthState:
    """The session that the browser came with, if any, ends: what it held is not carried over into the new one."""
    before = found(request.scope)
    principal = await there.sessions.principal(secret)
    assert principal is not None
    if before is not None and before.how == "session" and before.session != principal.session:
        await there.sessions.end(before.user, before.session)
    response.headers.append("Set-Cookie", session_cookie(secret, address(request).secure(request.scope)))
    return await _state(there, principal.user)


async def _state(there: People, id: str | None) -> AuthState:
    record = await there.service.user(id) if id else None
    user = User(id=record.id, name=record.name, email=record.email, role=record.role) if record else None
    registration = await there.service.registration()
    return AuthState(mode="accounts", registration=registration, oidc=there.visits.offered(), user=user)
