"""`/api/auth/oidc`: to a provider and back. These are pages that a browser goes through, but for the POST."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse

from orchestrator.errors import CodeActError
from orchestrator.protocol.base import Id
from orchestrator.security import cookie
from orchestrator.users.door import session_cookie, visit_cookie, visit_cookie_name
from orchestrator.users.endpoints import Everybody, From, address
from orchestrator.users.principal import account_holder, found
from orchestrator.users.schemas import Leave, SignInError, Visit
from orchestrator.users.secret import digest

router = APIRouter(prefix="/api/auth/oidc/{id}", tags=["accounts"])


@router.get("/start", status_code=303, response_class=RedirectResponse)
async def start(
    request: Request, there: Everybody, id: Id, at: From, return_to: Annotated[str, Query(max_length=500)] = "/"
) -> Response:
    """To the provider. What keeps one from going there is told on the page."""
    try:
        location, browser = await there.visits.leave(id, _back(request, id), at, return_to=return_to)
    except CodeActError as error:
        if error.status < 429:
            raise
        return RedirectResponse(f"/?sign_in_error={SignInError.FAILED.value}", 303)
    answer = RedirectResponse(location, 303)
    answer.headers.append("Set-Cookie", visit_cookie(browser, address(request).secure(request.scope)))
    return answer


@router.post("/start")
async def visit(request: Request, response: Response, there: Everybody, id: Id, at: From, body: Visit) -> Leave:
    links = account_holder(request).user if body.connect else ""
    invite = body.invite.get_secret_value() if body.invite else ""
    location, browser = await there.visits.leave(
        id, _back(request, id), at, return_to=body.return_to, invite=digest(invite) if invite else "", links=links
    )
    response.headers.append("Set-Cookie", visit_cookie(browser, address(request).secure(request.scope)))
    return Leave(location=location)


@router.get("/callback", status_code=303, response_class=RedirectResponse)
async def callback(request: Request, there: Everybody, id: Id, at: From) -> Response:
    """Back from the provider."""
    secure = address(request).secure(request.scope)
    browser = cookie(Headers(scope=request.scope), visit_cookie_name(secure))
    back = await there.visits.come_back(id, request.query_params, browser, _back(request, id), at)
    answer = RedirectResponse(back.path, 303)
    answer.headers.append("Set-Cookie", visit_cookie("", secure))
    if back.secret:
        before = found(request.scope)
        if before is not None and before.how == "session":
            await there.sessions.end(before.user, before.session)
        answer.headers.append("Set-Cookie", session_cookie(back.secret, secure))
    return answer


def _back(request: Request, id: str) -> str:
    """Where the provider sends people back to; it must know this address."""
    return f"{address(request).base(request.scope)}/api/auth/oidc/{id}/callback"
