"""`/metrics` on a port of its own, and traces, for as long as the server runs.

A port of its own, because who may read it is another question than who may chat: it tells what a whole team does, knows no
accounts, and Prometheus has no session. So it is off by default, on loopback unless told otherwise, never behind the proxy
that browsers come through, and a page in a browser cannot read it (its Host and Origin give it away).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from executor import tracing
from orchestrator import __version__
from orchestrator.errors import BadSetting
from orchestrator.observability.counts import counts

if TYPE_CHECKING:
    from aiohttp import web
    from prometheus_client.registry import Collector

log = logging.getLogger(__name__)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
TAKEN = "Metrics cannot be served on {host}:{port} ({cause}). Set CODEACT_METRICS_PORT to a free port, or to 0 for none."


@asynccontextmanager
async def traces(endpoint: str) -> AsyncGenerator[None, None]:
    """Traces of this server for as long as the block lasts. Raises BadSetting."""
    try:
        end = tracing.set_up("codeact-orchestrator", __version__, endpoint)
    except tracing.CannotTrace as error:
        raise BadSetting(str(error)) from error
    try:
        yield
    finally:
        await asyncio.to_thread(end)


@asynccontextmanager
async def metrics(host: str, port: int, sources: Sequence[Collector] = ()) -> AsyncGenerator[None, None]:
    """`/metrics` for as long as the block lasts; nothing is imported or opened when `port` is 0. `sources`: what else in
    this process counts. Raises BadSetting."""
    if not port:
        yield
        return
    from aiohttp import web

    from orchestrator.observability.metrics import Counted, renderer

    app = web.Application()
    app.router.add_get("/metrics", _answering(renderer(Counted(counts), *sources), host))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise BadSetting(TAKEN.format(host=host, port=port, cause=error.strerror)) from error
        log.info("metrics are read on port %d of %s", port, host)
        yield
    finally:
        await runner.cleanup()


def _answering(render: Callable[[], bytes], host: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    from aiohttp import web

    async def answer(request: web.Request) -> web.StreamResponse:
        name = urlsplit(f"//{request.headers.get('Host', '')}").hostname
        page = "Origin" in request.headers or "Sec-Fetch-Site" in request.headers
        if page or (host in LOOPBACK and name not in LOOPBACK):
            return web.Response(status=403, text="Refused: metrics are not for pages in a browser.\n")
        return web.Response(body=render(), headers={"Content-Type": CONTENT_TYPE})

    return answer
