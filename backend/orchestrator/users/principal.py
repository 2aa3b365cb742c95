"""Who asks. The middleware in front of everything finds out, once per request or websocket; what serves it reads it
here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from fastapi import Depends
from starlette.requests import HTTPConnection
from starlette.types import Scope

from orchestrator.errors import Forbidden, Unauthenticated

CHAT: Final = "chat"
"""Scope: conversations, all that one can do with them."""
READ: Final = "read"
"""Scope: conversations, to look at."""
ACCOUNT: Final = "account"
"""Scope: one's own account, and the server where one is admin. Signing in gives it; no token ever has it."""

SCOPES = frozenset({CHAT, READ, ACCOUNT})
_KEY = "principal"


@dataclass(frozen=True, slots=True)
class Principal:
    """`user`: their id, which conversations and files belong to. `how` they have shown who they are: by being on this
    machine, by a session's cookie, or by a token. `session`: the id of that session or token; empty for `local`."""

    user: str
    name: str
    role: Literal["user", "admin"]
    how: Literal["local", "session", "token"]
    scopes: frozenset[str] = SCOPES
    session: str = ""


LOCAL = Principal("local", "You", "admin", "local")
"""Everybody whom a server without accounts lets in."""


def put(scope: Scope, principal: Principal) -> None:
    scope.setdefault("state", {})[_KEY] = principal


def found(scope: Scope) -> Principal | None:
    principal: Principal | None = scope.get("state", {}).get(_KEY)
    return principal


def who(connection: HTTPConnection) -> Principal:
    """For endpoints and websockets. Raises `Unauthenticated`."""
    principal = found(connection.scope)
    if principal is None:
        raise Unauthenticated
    return principal


def account_holder(connection: HTTPConnection) -> Principal:
    """Somebody who may change their account: tokens may not. Raises `Unauthenticated`, `Forbidden`."""
    principal = who(connection)
    if ACCOUNT not in principal.scopes:
        raise Forbidden("A token cannot do that. Sign in on the page instead.")
    return principal


def administrator(connection: HTTPConnection) -> Principal:
    """Raises `Unauthenticated`, `Forbidden`."""
    principal = account_holder(connection)
    if principal.role != "admin":
        raise Forbidden("Only an administrator can do that. Ask one of yours.")
    return principal


Who = Annotated[Principal, Depends(who)]
AccountHolder = Annotated[Principal, Depends(account_holder)]
Administrator = Annotated[Principal, Depends(administrator)]
