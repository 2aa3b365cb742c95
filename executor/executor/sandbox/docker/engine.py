"""The Docker engine, as far as sandboxes need it: a dozen requests, and no way to make any other.

Over its socket an engine does whatever root can. So every request of the client library passes a gate that knows the few
endpoints below: those that reach into a container (its files, another process in it, its terminal), that build or fetch
images, or that make networks and volumes do not exist here, whoever asks for them.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeVar

import aiodocker
import aiohttp

from executor.sandbox.base import SandboxUnavailable

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
ENDPOINTS = tuple(
    (method, re.compile(rf"(?:/v\d+\.\d+)?{path}"))
    for method, path in (
        ("GET", "/version"),
        ("GET", "/info"),
        ("GET", "/images/[A-Za-z0-9_.:/@-]+/json"),
        ("GET", "/containers/json"),
        ("POST", "/containers/create"),
        ("POST", f"/containers/{NAME}/start"),
        ("GET", f"/containers/{NAME}/json"),
        ("GET", f"/containers/{NAME}/stats"),
        ("POST", f"/containers/{NAME}/kill"),
        ("POST", f"/containers/{NAME}/wait"),
        ("DELETE", f"/containers/{NAME}"),
        ("GET", "/events"),
    )
)
ANSWER_S = 30.0
NO_ENGINE = (
    "The Docker engine does not answer at {socket} ({error}). Start it: `sudo systemctl start docker`; where it runs, give "
    "this user access to the socket, or name another one with CODEACT_SANDBOX_DOCKER_SOCKET."
)

Answer = TypeVar("Answer")
Json = dict[str, Any]


class Listed(NamedTuple):
    """A container in a list. `state` is the engine's word: created, running, exited, …"""

    id: str
    labels: dict[str, str]
    state: str


class Refused(RuntimeError):
    """A request that no sandbox needs: a mistake in this package. It was not sent."""


class EngineError(Exception):
    """The engine refused a request (`status` as in HTTP) or could not be reached (`status` 0)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def gone(self) -> bool:
        """There is no such container or image."""
        return self.status == 404

    @property
    def unreachable(self) -> bool:
        return self.status == 0


def permitted(method: str, path: str) -> bool:
    return ".." not in path and any(method == allowed and shape.fullmatch(path) for allowed, shape in ENDPOINTS)


async def gate(_session: aiohttp.ClientSession, _: SimpleNamespace, params: aiohttp.TraceRequestStartParams) -> None:
    if not permitted(params.method, params.url.path):
        raise Refused(f"{params.method} {params.url.path}")


class Engine:
    """One engine, by its Unix socket. Make it inside a running event loop; nothing is connected before the first request.
    Every method raises EngineError."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        tracing = aiohttp.TraceConfig()
        tracing.on_request_start.append(gate)
        # No limit on connections: every sandbox keeps one open to hear of its end.
        self._http = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(socket), limit=0), trace_configs=[tracing], timeout=aiohttp.ClientTimeout()
        )
        self._docker = aiodocker.Docker(url="unix://docker", session=self._http, connector=self._http.connector)

    async def version(self) -> Json:
        return await answered(self._docker.version())

    async def info(self) -> Json:
        return dict(await answered(self._docker.system.info()))

    async def image(self, name: str) -> Json:
        return dict(await answered(self._docker.images.inspect(name)))

    async def create(self, name: str, body: Json) -> str:
        """Makes a container; its id."""
        return (await answered(self._docker.containers.create(body, name=name))).id

    async def start(self, id: str) -> None:
        await answered(self._docker.containers.container(id).start())

    async def inspect(self, id: str) -> Json:
        return await answered(self._docker.containers.container(id).show())

    async def stats(self, id: str) -> Json:
        [now] = await answered(self._docker.containers.container(id).stats(stream=False))
        return dict(now)

    async def kill(self, id: str) -> None:
        await answered(self._docker.containers.container(id).kill(signal="SIGKILL"))

    async def wait(self, id: str) -> int:
        """Until the container has ended; its exit status. Waits for ever; an engine that restarts meanwhile is an error."""
        async with told():
            return int((await self._docker.containers.container(id).wait())["StatusCode"])

    async def remove(self, id: str) -> None:
        """Removes the container, running or not."""
        await answered(self._docker.containers.container(id).delete(force=True, v=True))

    async def containers(self, labels: list[str]) -> list[Listed]:
        """Every container, running or not, that has all of the labels (`name` or `name=value`)."""
        found = await answered(self._docker.containers.list(all=1, filters=json.dumps({"label": labels})))
        return [Listed(container.id, dict(container["Labels"]), container["State"]) for container in found]

    async def events(self, labels: list[str], kinds: list[str]) -> AsyncIterator[Json]:
        """What happens to containers with these labels from now on. Ends with EngineError only. One reader at a time."""
        filters = json.dumps({"type": ["container"], "event": kinds, "label": labels})
        heard = self._docker.events.subscribe(create_task=False)  # type: ignore[no-untyped-call]
        listening = asyncio.create_task(self._docker.events.run(filters=filters))
        try:
            while (event := await heard.get()) is not None:
                yield event
            async with told():
                await listening
            raise EngineError(0, "the engine closed its stream of events")
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def close(self) -> None:
        await self._docker.close()
        await self._http.close()

    def unavailable(self, error: EngineError) -> SandboxUnavailable:
        return SandboxUnavailable(NO_ENGINE.format(socket=self.socket, error=error))


async def answered(request: Awaitable[Answer]) -> Answer:
    async with told(), asyncio.timeout(ANSWER_S):
        return await request


@asynccontextmanager
async def told() -> AsyncIterator[None]:
    """The library's errors as ours."""
    try:
        yield
    except aiodocker.DockerError as error:
        raise EngineError(0 if error.status == 900 else error.status, error.message) from error
    except TimeoutError as error:
        raise EngineError(0, f"no answer within {ANSWER_S:.0f} s") from error
    except (
        aiohttp.ClientError,
        OSError,
        ValueError,
        TypeError,
        LookupError,
    ) as error:  # cut off, or no answer of an engine
        raise EngineError(0, str(error) or type(error).__name__) from error
