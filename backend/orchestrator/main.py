"""`create_app(settings)`: the orchestrator as an ASGI application."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse

from executor import tracing
from orchestrator import __version__, health, pages, wiring
from orchestrator.conversations.endpoints import router as conversations
from orchestrator.errors import CodeActError
from orchestrator.live.endpoint import router as live
from orchestrator.observability.connections import Observed
from orchestrator.observability.serving import metrics, traces
from orchestrator.openai_api.endpoints import router as openai_api
from orchestrator.security import OnlyYou, session_token
from orchestrator.settings import Settings

log = logging.getLogger(__name__)


def create_app(settings: Settings) -> FastAPI:
    """The whole service. Its parts are built when it starts and closed, in order, when it stops."""
    app = FastAPI(title="CodeAct Chat", version=__version__, lifespan=_observed, docs_url=None, redoc_url=None,
                  openapi_url=None, telemetry=tracing.BY_US_ALONE)  # fmt: skip
    app.state.settings = settings
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    token = session_token(settings.data_dir / "session.token")
    hosts = [settings.host, *(name.strip() for name in settings.allowed_hosts.split(",") if name.strip())]
    app.add_middleware(OnlyYou, token=token, hosts=hosts)
    app.add_middleware(Observed)  # around everything, refusals included
    app.add_exception_handler(CodeActError, _told)
    for router in (health.router, live, conversations, openai_api, pages.router):
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
    try:
        recovered = await parts.turns.start()
        if recovered:
            log.warning("closed %d turn(s) that an earlier run of the server left open", recovered)
        app.state.parts = parts
        yield
    finally:
        await parts.close()


async def _told(_: Request, error: Exception) -> JSONResponse:
    """Errors we raise on purpose, in their own words."""
    assert isinstance(error, CodeActError)
    return JSONResponse({"error": type(error).__name__, "detail": error.words}, error.status)
