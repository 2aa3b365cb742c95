"""The cluster's API server, as far as sandboxes need it: pods of one namespace, and no way to ask for anything else.

The official client library does the asking (`kubernetes.aio`, which waits without threads). Its models are left out: what
goes out is the body as it was written, what comes in is looked at field by field, so that neither a newer server nor an
older library changes what is asked. Every request passes a gate that knows the few below: nothing that reaches into a pod
(exec, attach, port-forward, logs), no secrets, no other kind of object exists here, whoever asks for it.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp

from executor.sandbox.base import SandboxUnavailable

ANSWER_S = 30.0
WATCH_S = 240.0  # after which the server ends a watch, and it is begun again
CONNECT_S = 10.0
POD = r"[a-z0-9][a-z0-9.-]*"
NO_CLUSTER = (
    "The cluster's API server does not answer ({error}). Inside a cluster the executor needs a ServiceAccount "
    "(deploy/kubernetes/base/sandboxes); elsewhere CODEACT_SANDBOX_KUBE_CONFIG must name a kubeconfig file."
)

Json = dict[str, Any]


class Refused(RuntimeError):
    """A request that no sandbox needs: a mistake in this package. It was not sent."""


class ClusterError(Exception):
    """The server refused a request (`status` as in HTTP) or could not be reached (`status` 0)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def gone(self) -> bool:
        """There is no such pod; or, of a watch, the place to go on from has been forgotten."""
        return self.status in (404, 410)

    @property
    def unreachable(self) -> bool:
        return self.status == 0


def permitted(method: str, path: str, namespace: str) -> bool:
    pods = f"/api/v1/namespaces/{re.escape(namespace)}/pods"
    one = rf"{pods}/{POD}"
    allowed = (("GET", pods), ("POST", pods), ("GET", one), ("DELETE", one), ("GET", "/version/"))
    return ".." not in path and any(method == verb and re.fullmatch(shape, path) for verb, shape in allowed)


class Cluster:
    """The pods of `namespace`. `config` is a kubeconfig file; None inside a cluster. Nothing is connected before the first
    request. Every method raises ClusterError."""

    def __init__(self, namespace: str, config: Path | None) -> None:
        self.namespace = namespace
        self._config = config
        self._opening: asyncio.Task[Any] | None = None

    async def version(self) -> str:
        from kubernetes.aio import client

        api = await self._api()
        return str((await self._asked(client.VersionApi(api.api_client).get_code_without_preload_content))["gitVersion"])

    async def create(self, body: Json) -> Json:
        api = await self._api()
        create = api.create_namespaced_pod_without_preload_content
        return await self._asked(create, self.namespace, body, field_validation="Strict")

    async def pod(self, name: str) -> Json:
        api = await self._api()
        return await self._asked(api.read_namespaced_pod_without_preload_content, name, self.namespace)

    async def delete(self, name: str, grace_s: int) -> None:
        """Begins the pod's end. With a grace of 0 s it is forgotten at once, whatever its node says."""
        api = await self._api()
        delete = api.delete_namespaced_pod_without_preload_content
        await self._asked(delete, name, self.namespace, grace_period_seconds=grace_s)

    async def pods(self, selector: str) -> tuple[list[Json], str]:
        """Those with the labels, and the version of this answer: a watch goes on from there."""
        api = await self._api()
        listed = api.list_namespaced_pod_without_preload_content
        found = await self._asked(listed, self.namespace, label_selector=selector)
        return list(found.get("items") or []), str(found["metadata"]["resourceVersion"])

    async def watch(self, selector: str, version: str) -> AsyncIterator[tuple[str, Json]]:
        """ADDED, MODIFIED or DELETED, and the pod, as it happens. Ends when the server ends it."""
        api = await self._api()
        watching = api.list_namespaced_pod_without_preload_content
        options = {"label_selector": selector, "resource_version": version, "timeout_seconds": int(WATCH_S)}
        async with told():
            answer = await watching(
                self.namespace, watch=True, allow_watch_bookmarks=True, _request_timeout=WATCH_S + ANSWER_S, **options
            )
            try:
                await raised(answer)
                while line := await answer.content.readline():
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise ClusterError(int(event["object"].get("code", 500)), str(event["object"].get("message")))
                    if event["type"] != "BOOKMARK":
                        yield event["type"], event["object"]
            finally:
                answer.close()

    async def close(self) -> None:
        opening, self._opening = self._opening, None
        if opening is not None and not opening.cancel() and opening.exception() is None:
            await opening.result().api_client.close()

    def unavailable(self, error: ClusterError) -> SandboxUnavailable:
        return SandboxUnavailable(NO_CLUSTER.format(error=error))

    # ---- plumbing ----------------------------------------------------------------------------------------------------

    async def _api(self) -> Any:
        if self._opening is None or (self._opening.done() and self._opening.exception() is not None):
            self._opening = asyncio.create_task(self._open())
        return await asyncio.shield(self._opening)

    async def _open(self) -> Any:
        return await opened(self._config, self._gate)

    async def _gate(
        self, _session: aiohttp.ClientSession, _: SimpleNamespace, params: aiohttp.TraceRequestStartParams
    ) -> None:
        if not permitted(params.method, params.url.path, self.namespace):
            raise Refused(f"{params.method} {params.url.path}")

    async def _asked(self, request: Callable[..., Awaitable[Any]], *arguments: Any, **options: Any) -> Json:
        async with told(), asyncio.timeout(ANSWER_S):
            answer = await request(*arguments, **options, _request_timeout=ANSWER_S)
            await raised(answer)
            return dict(json.loads(await answer.read()))


async def opened(config: Path | None, gate: Any) -> Any:
    """The library's way to pods. Raises ClusterError."""
    tracing = aiohttp.TraceConfig()
    tracing.on_request_start.append(gate)
    try:
        from kubernetes.aio import client
        from kubernetes.aio import config as configuring
    except ImportError as error:
        raise ClusterError(0, f"the library `kubernetes` is not installed: {error}") from error
    chosen = client.Configuration()
    try:
        if config is None:
            configuring.load_incluster_config(client_configuration=chosen)  # type: ignore[no-untyped-call]
        else:
            load = configuring.load_kube_config
            await load(str(config), client_configuration=chosen, persist_config=False)  # type: ignore[no-untyped-call]
    except (configuring.ConfigException, OSError, ValueError) as error:
        raise ClusterError(0, str(error)) from error
    chosen.trace_configs = [tracing]
    chosen.client_session_kwargs = {"trust_env": False}  # HTTP_PROXY is for the world, not for the cluster
    chosen.connection_pool_maxsize = 0  # no limit: a hundred ends at once are no reason to wait
    chosen.client_side_validation = False
    return client.CoreV1Api(client.ApiClient(chosen))


async def raised(answer: aiohttp.ClientResponse) -> None:
    """Raises ClusterError for what is no success, in the server's own words."""
    if answer.status < 300:
        return
    text = await answer.text()
    try:
        message = str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        message = text[:500] or answer.reason or "no words"
    raise ClusterError(answer.status, message)


@asynccontextmanager
async def told() -> AsyncIterator[None]:
    """The library's errors as ours."""
    try:
        yield
    except TimeoutError as error:
        raise ClusterError(0, f"no answer within {ANSWER_S:.0f} s") from error
    except (aiohttp.ClientError, OSError, ValueError, TypeError, LookupError) as error:
        raise ClusterError(0, str(error) or type(error).__name__) from error
