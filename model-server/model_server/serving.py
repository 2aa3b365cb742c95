"""`python -m model_server serve`: one engine, watched. Ready after one real token; its end is ours, with words.

A container or a service manager starts it again; here nothing is tried twice, so that a cause is seen and not drowned.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import aiohttp

from model_server.catalogue import UnknownModel
from model_server.engine import EngineProcess
from model_server.fetch import FetchFailed, fetch
from model_server.health import Health, answering, responds
from model_server.plan import CannotServe, Plan, checked_key, gguf, plan_llama, plan_vllm
from model_server.settings import ServeSettings
from model_server.troubles import explain

T = TypeVar("T")

LOOK_S = 0.5
WARM_S = 300.0
WARM_UP = [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": "Hello"}]


class EngineFailed(Exception):
    """The engine did not start, or ended by itself. The message names the cause and the next step."""


def say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


async def serve(settings: ServeSettings) -> int:
    """Until a signal says stop. 0: stopped as asked; 1: it could not be served, or ended, and the reason was told."""
    try:
        async with stopping() as stop:
            await _serve(settings, stop)
    except (CannotServe, UnknownModel, FetchFailed, EngineFailed) as error:
        say(f"The model cannot be served. {error}")
        return 1
    except OSError as error:
        say(f"The model cannot be served. {error.strerror or error} (port {settings.model_health_port} is for its health).")
        return 1
    return 0


@contextlib.asynccontextmanager
async def stopping() -> AsyncIterator[asyncio.Event]:
    """Set by SIGTERM and Ctrl-C."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _serve(settings: ServeSettings, stop: asyncio.Event) -> None:
    health = Health(model=settings.model, engine=settings.model_engine)
    async with answering(health, settings.model_host, settings.model_health_port):
        plan = await _or_stop(_planned(settings, health), stop)
        if plan is None:
            return
        health.model, health.state, health.detail = plan.name, "loading", "the engine loads the model"
        for note in plan.notes:
            say(note)
        say(f"Starting: {' '.join(plan.command)}")
        async with EngineProcess(plan, say) as engine:
            await _or_stop(_watched(engine, plan, health, settings.model_start_minutes * 60), stop)
            health.state, health.detail = "failed", "it is being stopped"


async def _planned(settings: ServeSettings, health: Health) -> Plan:
    if settings.model_engine == "vllm":
        return plan_vllm(settings)
    model = gguf(settings)
    checked_key(settings)  # before a gigabyte is fetched for nothing
    health.state, health.detail = "fetching", f"{model.title} is being fetched"
    return plan_llama(settings, await fetch(model, settings.model_dir, say=say))


async def _or_stop(work: Coroutine[Any, Any, T], stop: asyncio.Event) -> T | None:
    """What `work` returns; None, and `work` cancelled, as soon as `stop` is set."""
    working, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, stopped):
            task.cancel()
        await asyncio.gather(working, stopped, return_exceptions=True)


async def _watched(engine: EngineProcess, plan: Plan, health: Health, start_s: float) -> None:
    """Never returns by itself. Raises EngineFailed when the engine ends or is not ready in time."""
    ended = asyncio.create_task(engine.ended(), name="engine-end")
    ready = asyncio.create_task(_ready(plan, health, start_s), name="engine-ready")
    try:
        await asyncio.wait({ended, ready}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            ready.result()
            say(f"{plan.name} is ready at {plan.url}/v1")
            await ended
        raise EngineFailed(explain(list(engine.said), ended.result()))
    finally:
        for task in (ended, ready):
            task.cancel()
        await asyncio.gather(ended, ready, return_exceptions=True)


async def _ready(plan: Plan, health: Health, start_s: float) -> None:
    """Until the engine has answered with one real token. Raises EngineFailed."""
    try:
        async with asyncio.timeout(start_s):
            while not await responds(f"{plan.url}/health"):  # noqa: ASYNC110 (another process: nobody tells us)
                await asyncio.sleep(LOOK_S)
    except TimeoutError as error:
        raise EngineFailed(
            f"It was not ready after {start_s / 60:.0f} minutes. Its log above says how far it came; "
            "CODEACT_MODEL_START_MINUTES gives it longer."
        ) from error
    health.state, health.detail = "warming", "waiting for the first token"
    await one_token(plan)
    health.state, health.detail, health.checked_at = "ready", "", f"{plan.url}/health"


async def one_token(plan: Plan) -> None:
    """The smallest real request: chat template, weights and sampler all have to work. Raises EngineFailed."""
    body = {"model": plan.name, "messages": WARM_UP, "max_tokens": 1, "temperature": 0}
    headers, timeout = {"Authorization": f"Bearer {plan.key}"}, aiohttp.ClientTimeout(total=WARM_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as http,
            http.post(f"{plan.url}/v1/chat/completions", json=body) as answer,
        ):
            said = await answer.text()
            if answer.status != 200:
                raise EngineFailed(f"It loaded, but does not answer (status {answer.status}). {explain([said], None)}")
    except (aiohttp.ClientError, TimeoutError) as error:
        raise EngineFailed(f"It loaded, but its first answer did not come ({error or type(error).__name__}).") from error
