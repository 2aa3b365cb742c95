"""`codeact serve`: checks the ground, starts what is not given by URL, serves until it is told to stop, and leaves nothing.

First Ctrl-C (or SIGTERM): turns are closed honestly, then sandboxes, then the model server. Second: at once; the kernel
ends our children with us.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Generator
from types import FrameType
from typing import Any

import aiohttp
import uvicorn
import uvloop
from fastapi import FastAPI

from executor import logs
from orchestrator.errors import CodeActError
from orchestrator.ground import Refused, bind, bind_words, check_disk, check_ui, claim, memory_words
from orchestrator.live.gathering import GatheringSocket
from orchestrator.main import create_app
from orchestrator.settings import Settings

log = logging.getLogger("codeact")

Tell = Callable[[str], None]
GRACEFUL_S = 5
READY_CHECK_S = 15.0
WS_MAX_BYTES = 1 << 20
LIMITED = "Not in force"  # begins the executor's words for limits that this machine cannot set


def run(settings: Settings) -> int:
    """`serve` in an event loop of its own; the exit status of the command."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(settings))


async def serve(settings: Settings, tell: Tell | None = None) -> int:
    """Serve until a signal says stop. 0: stopped as asked; 1: could not start, and `tell` was told why."""
    as_json = settings.log_format == "json"
    told = tell or (_log if as_json else _print)
    logs.set_up(settings.log_level, settings.log_format, force=as_json)
    log.setLevel(logging.INFO)  # what is told is told whatever the level is, as it is on a terminal
    logging.getLogger("codeact.access").setLevel(settings.log_level.upper() if as_json else logging.WARNING)
    for library in ("alembic", "uvicorn", "aiohttp", "asyncio", "aiosqlite"):
        logging.getLogger(library).setLevel(logging.WARNING)
    stop = Stop(told)
    stop.listen()
    try:
        return await _serve(settings, stop, told)
    except Refused as refused:
        told(str(refused))
        return 1
    except asyncio.CancelledError:
        if not stop.asked:
            raise
        told("Stopped.")
        return 0
    finally:
        stop.forget()


class Stop:
    """Ctrl-C and SIGTERM. Before the server listens the first one cancels the start; then it ends the server, and the
    second ends it without waiting for anybody."""

    def __init__(self, tell: Tell) -> None:
        self.asked = 0
        self.server: Server | None = None
        self.closing = False
        self._tell, self._task = tell, asyncio.current_task()

    def listen(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal)

    def forget(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(number)

    def _on_signal(self) -> None:
        self.asked += 1
        if self.asked == 1:
            self._tell("Stopping … (Ctrl-C again to stop at once)")
            if self.server is not None:
                self.server.leave()
            elif self._task is not None:
                self._task.cancel()
        elif self.asked == 2 and self.server is not None and not self.closing:
            self.server.should_exit = self.server.force_exit = True
        else:
            os._exit(130)


async def _serve(settings: Settings, stop: Stop, tell: Tell) -> int:
    check_ui(settings)
    check_disk(settings)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(claim(settings.data_dir))
        listener = stack.enter_context(contextlib.closing(_bound(settings)))
        settings = settings.model_copy(update={"port": listener.getsockname()[1]})
        if not settings.model_url:
            settings = await stack.enter_async_context(embedded_model(settings, tell))
        app = create_app(settings)
        try:
            await stack.enter_async_context(app.router.lifespan_context(app))
        except CodeActError as error:
            raise Refused(error.words) from error
        stop.server = Server(app, settings, tell)
        try:
            await stop.server.serve(sockets=[listener])
        except OSError as error:  # another program listens there since we bound
            raise Refused(bind_words(error, settings.host, settings.port)) from error
        finally:
            stop.closing = True
    tell("Stopped; nothing is left running.")
    return 0


@contextlib.asynccontextmanager
async def embedded_model(settings: Settings, tell: Tell) -> AsyncIterator[Settings]:
    """Fetch the model unless it is here, serve it for as long as the block lasts; the settings then point to it."""
    from model_server.catalogue import DEFAULT
    from model_server.child import LlamaChild, ModelDidNotStart
    from model_server.fetch import FetchFailed, fetch

    try:
        path = await fetch(DEFAULT, settings.model_dir)
        if words := memory_words(DEFAULT.size * 2):
            tell(words)
        tell(f"Starting {DEFAULT.title} …")
        async with LlamaChild(DEFAULT, path) as child:
            tell(f"The model is ready: {child.threads} thread{'s' if child.threads > 1 else ''}.")
            yield settings.model_copy(
                update={
                    "model_url": child.url,
                    "model_api_key": child.key,
                    "model_name": DEFAULT.name,
                    "model_prefill": True,
                    "model_context_tokens": min(settings.model_context_tokens, DEFAULT.context),
                }
            )
    except FetchFailed as failed:
        raise Refused(str(failed)) from failed
    except ModelDidNotStart as failed:
        raise Refused(
            f"The model server did not start: {failed}. If the model's file is damaged, remove {path} and start again; "
            "or set CODEACT_MODEL_URL to any OpenAI-compatible server."
        ) from failed


class Server(uvicorn.Server):
    """uvicorn, with our signals and our words. The app's lifespan is ours too: its errors are words, not a traceback."""

    def __init__(self, app: FastAPI, settings: Settings, tell: Tell) -> None:
        config = uvicorn.Config(
            app, loop="none", ws=GatheringSocket, ws_per_message_deflate=False,
            ws_max_size=WS_MAX_BYTES, proxy_headers=False, access_log=False, log_config=None,
            server_header=False, lifespan="off",
            timeout_graceful_shutdown=GRACEFUL_S,
        )  # fmt: skip
        super().__init__(config)
        self._settings, self._tell, self._state = settings, tell, app.state

    def leave(self) -> None:
        """Stop; before, where the settings give them time, running turns go on to their ends, and nothing else does: pages
        are sent away, to another server or to wait for the next life of this one."""
        if self._settings.drain_s > 0:
            self._leaving = asyncio.create_task(self._drain())
        else:
            self.should_exit = True

    async def _drain(self) -> None:
        turns = self._state.parts.turns
        turns.draining = True
        self._state.presence.hang_up(lambda _: True)
        try:
            await turns.drain(self._settings.drain_s)
        finally:
            self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """`Stop` has them already."""
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        _rest_what_stays()
        if self.started:
            self._tell(f"\n  Open {_address(self._settings)} in your browser.   Ctrl-C stops everything.\n")
            self._told = asyncio.create_task(_tell_what_is_missing(_address(self._settings), self._tell))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._told.cancel()
        await super().shutdown(sockets)


def _rest_what_stays() -> None:
    """What is there by now stays until the end, so the collector need not look at it again: a look costs milliseconds, in
    the middle of somebody's answer. Cycles made from now on are still found, less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


async def _tell_what_is_missing(address: str, tell: Tell) -> None:
    """The chat works without a sandbox, but runs nothing: say so here too, not only in the page."""
    timeout = aiohttp.ClientTimeout(total=READY_CHECK_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as http, http.get(f"{address}/readyz") as response:
            state: dict[str, Any] = await response.json()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        log.warning("readyz did not answer: %s", error)
        return
    for part in state.get("parts", []):
        if not part["ok"] or LIMITED in part["words"]:
            tell(f"{part['name']}: {part['words']}")


def _address(settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}"


def _bound(settings: Settings) -> socket.socket:
    return bind(settings.host, settings.port, everywhere=settings.auth == "accounts")


def _log(words: str) -> None:
    log.info(words.strip())


def _print(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
