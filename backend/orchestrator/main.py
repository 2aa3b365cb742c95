"""`create_app(settings)`: the orchestrator as an ASGI application."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from executor import tracing
from orchestrator import __version__, health, pages, wiring
from orchestrator.admin.endpoints import router as operations
from orchestrator.admin.service import Operations, Served
from orchestrator.admin.settings_view import without_password
from orchestrator.conversations.endpoints import router as conversations
from orchestrator.conversations.removals import Removals
from orchestrator.errors import CodeActError
from orchestrator.live.endpoint import router as live
from orchestrator.observability.connections import Observed
from orchestrator.observability.serving import metrics, traces
from orchestrator.openai_api.endpoints import router as openai_api
from orchestrator.problem import Problem, told_as
from orchestrator.quotas.endpoints import router as quota
from orchestrator.quotas.rates import Buckets, RateLimited, by_address, by_user
from orchestrator.quotas.service import Quotas
from orchestrator.quotas.watch import Watch
from orchestrator.security import OnlyYou, session_token
from orchestrator.settings import Settings
from orchestrator.users import people
from orchestrator.users.admin_endpoints import router as administration
from orchestrator.users.door import Address, SignedIn
from orchestrator.users.endpoints import router as accounts
from orchestrator.users.oidc_endpoints import router as oidc
from orchestrator.users.presence import Presence
from orchestrator.wiring import Parts

log = logging.getLogger(__name__)


def create_app(settings: Settings) -> FastAPI:
    """The whole service. Its parts are built when it starts and closed, in order, when it stops."""
    app = FastAPI(title="CodeAct Chat", version=__version__, lifespan=_observed, docs_url=None, redoc_url=None,
                  openapi_url=None, telemetry=tracing.BY_US_ALONE, responses=told_as(Problem))  # fmt: skip
    app.state.settings = settings
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    app.state.presence, app.state.people, app.state.quotas, app.state.removals = Presence(), None, None, None
    if settings.rate_user_per_minute:  # behind the sign-in
        app.add_middleware(RateLimited, buckets=Buckets(settings.rate_user_per_minute), key=by_user)
    hosts = [settings.host, *_words(settings.allowed_hosts)]
    if settings.auth == "accounts":
        app.add_middleware(SignedIn, hosts=hosts, address=Address(settings.public_url))
    else:
        app.add_middleware(OnlyYou, token=session_token(settings.data_dir / "session.token"), hosts=hosts)
    if settings.rate_address_per_minute:  # in front of it
        app.add_middleware(RateLimited, buckets=Buckets(settings.rate_address_per_minute), key=by_address)
    app.add_middleware(Observed)  # around everything, refusals included
    if settings.trusted_proxies:  # around everything: what they say of the client is true for all that follows
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=_words(settings.trusted_proxies))
    app.add_exception_handler(CodeActError, _told)
    app.add_exception_handler(RequestValidationError, _misunderstood)
    app.add_exception_handler(HTTPException, _refused)
    for router in (
        health.router, live, accounts, oidc, administration, operations, quota, conversations, openai_api, pages.router,
    ):  # fmt: skip
        app.include_router(router)
    return app


@asynccontextmanager
async def _observed(app: FastAPI) -> AsyncGenerator[None, None]:
    settings: Settings = app.state.settings
    async with traces(settings.otlp_endpoint), _lifespan(app):
        counting = wiring.collectors(app.state.parts) if settings.metrics_port else []
        async with metrics(settings.metrics_host, settings.metrics_port, counting):
            yield


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
    parts = await wiring.build(app.state.settings)
    watching: Watch | None = None
    try:
        recovered = await parts.turns.start()
        if recovered:
            log.warning("closed %d turn(s) that an earlier run of the server left open", recovered)
        app.state.parts = parts
        app.state.removals = removals = Removals(parts.store, parts.kernel)
        removals.start()
        app.state.quotas, watching = await _quotas(parts)
        app.state.operations = _operations(parts, app.state.quotas)
        if parts.settings.auth == "accounts":
            app.state.people = people.start(parts.settings, parts.accounts, parts.bus, app.state.presence)
        yield
    finally:
        if app.state.people is not None:
            await app.state.people.close()
        if watching is not None:
            await watching.close()
        if app.state.removals is not None:
            await app.state.removals.close()
        await parts.close()


async def _quotas(parts: Parts) -> tuple[Quotas, Watch] | tuple[None, None]:
    """They stand before every turn, where people have any."""
    if not wiring.counts(parts.settings):
        return None, None
    quotas = Quotas(parts.usage, parts.kernel, parts.bus, wiring.quota_limits(parts.settings))
    watching = Watch(quotas, parts.bus)
    await watching.start()
    parts.turns.gate = quotas
    return quotas, watching


def _operations(parts: Parts, quotas: Quotas | None) -> Operations:
    served = Served(parts.model, without_password(parts.settings.model_url), parts.profile.name)
    return Operations(parts.accounts, parts.usage, parts.kernel, parts.turns, served, quotas, time.time)


async def _told(_: Request, error: Exception) -> JSONResponse:
    """Errors we raise on purpose, in their own words."""
    assert isinstance(error, CodeActError)
    return JSONResponse({"error": type(error).__name__, "detail": error.words}, error.status, error.headers())


async def _refused(_: Request, error: Exception) -> JSONResponse:
    """What the framework itself refuses."""
    assert isinstance(error, HTTPException)
    body = {"error": HTTPStatus(error.status_code).phrase, "detail": f"{error.detail}."}
    return JSONResponse(body, error.status_code, error.headers)


async def _misunderstood(_: Request, error: Exception) -> JSONResponse:
    """What is wrong with a request, without what was sent: that may be a password."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    return JSONResponse({"error": "Invalid", "detail": f"{where or 'The body'}: {first['msg']}."}, 422)


def _words(setting: str) -> list[str]:
    return [word.strip() for word in setting.split(",") if word.strip()]
