"""The executor as a service of its own: one manager behind HTTP, until SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from importlib.metadata import version
from types import FrameType

import uvicorn

from executor import logs, tracing
from executor.api.app import create_app
from executor.local import make_manager
from executor.manager import SETTLE_S, Manager
from executor.settings import ServiceSettings, Settings

log = logging.getLogger(__name__)

CANNOT_LISTEN = "Cannot listen on {host}:{port} ({cause}). Set CODEACT_EXECUTOR_HOST and CODEACT_EXECUTOR_PORT."


class CannotStart(Exception):
    """The service cannot start; the message says why and what to do."""


async def serve(service: ServiceSettings, settings: Settings) -> None:
    """Answers until SIGTERM or SIGINT. Raises CannotStart."""
    logs.set_up(service.log_level)
    try:
        token = service.service_token()
        service.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        end_traces = tracing.set_up("codeact-executor", version("codeact-executor"), service.otlp_endpoint)
    except (ValueError, OSError, tracing.CannotTrace) as error:
        raise CannotStart(str(error)) from error
    with _listener(service.host, service.port) as listener:
        manager = make_manager(service.data_dir, settings, survive=True)
        app = create_app(manager, token, keep=True)
        patience = int(settings.drain_s + SETTLE_S) + 5
        config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=patience)
        host, port = listener.getsockname()[:2]
        log.info("listening", extra={"host": host, "port": port, "pid": os.getpid()})
        await _Server(config, manager, end_traces).serve([listener])


class _Server(uvicorn.Server):
    """Told to end, it takes nothing new, and lets cells end before their connections do."""

    def __init__(self, config: uvicorn.Config, manager: Manager, last: Callable[[], None]) -> None:
        """`last` is done in a thread when all has ended: after this the signal that ended it ends the process."""
        super().__init__(config)
        self._manager = manager
        self._last = last
        self._loop = asyncio.get_running_loop()
        self._settling: list[asyncio.Task[None]] = []

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._loop.call_soon_threadsafe(self._settle)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        await asyncio.to_thread(self._last)

    def _settle(self) -> None:
        if not self._settling:
            self._settling.append(asyncio.create_task(self._manager.settle_down()))


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        raise CannotStart(CANNOT_LISTEN.format(host=host, port=port, cause=error.strerror)) from error
    # asyncio turns Nagle off only for sockets it made itself; without this an answer of two packets takes 40 ms
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
