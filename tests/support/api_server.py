"""A stand-in for a cluster's API server: HTTP on loopback, as much of core/v1 as pods need, and a node that really starts
them (`api_server_pods`).

It is stricter than most: a pod that the schema does not know, or that the policy of `pod_security` would not let in, is
refused, as is every request but those that the executor's Role grants. Watches have versions, bookmarks and an end; what is
older than its memory is "410 Gone". Tests may take a node's part: fail an image, find no room, evict, stop answering.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from executor.sandbox import etc, programs
from tests.support.api_server_pods import LocalPod
from tests.support.pod_security import complaints

Json = dict[str, Any]
NAMESPACE = "codeact-sandboxes"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
REMEMBERED = 500


class ApiServer:
    """Runs in a thread of its own between `start` and `stop`. `directory` is for what the node needs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.token = secrets.token_hex(16)
        self.pods: dict[str, Json] = {}
        self.asked: list[tuple[str, str]] = []  # method and path of every request
        self.bodies: list[Json] = []  # of the pods that were asked for, as they came
        self.volumes: dict[str, Path] = {}  # by the name of the claim
        self.policies = True  # whether NetworkPolicies are enforced
        self.away = False
        self.waiting: Json | None = None  # a container's state, for pods that shall not start
        self.unschedulable = ""
        self.url = ""
        self._version = 1
        self._log: deque[tuple[int, str, Json]] = deque(maxlen=REMEMBERED)
        self._news = asyncio.Condition()
        self._running: dict[str, LocalPod] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._watches: set[web.StreamResponse] = set()
        self._number = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    # ---- for tests, from their own thread ----------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()
        self.call(self._start())

    def stop(self) -> None:
        self.call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def kubeconfig(self) -> Path:
        path = self.directory / "kubeconfig"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url}}],
            "users": [{"name": "test", "user": {"token": self.token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": NAMESPACE}}],
        }
        path.write_text(json.dumps(config))
        return path

    def volume(self, claim: str, directory: Path) -> str:
        directory.mkdir(parents=True, exist_ok=True)
        self.volumes[claim] = directory
        return claim

    def evict(self, name: str, message: str) -> None:
        self.call(self._evict(name, message))

    def cut_watches(self, forget: bool = False) -> None:
        """Ends every watch; with `forget`, nothing of before can be watched from any more."""
        self.call(self._cut(forget))

    def local(self, name: str) -> LocalPod:
        return self._running[name]

    # ---- life --------------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        self._bwrap = programs.find_bwrap()
        self._python = await programs.ask_python(programs.default_python())
        etc.renew(self.directory / "etc")
        app = web.Application(middlewares=[self._guarded])
        app.router.add_get("/version/", self._tell_version)
        app.router.add_get(PODS, self._list)
        app.router.add_post(PODS, self._create)
        app.router.add_get(PODS + "/{name}", self._read)
        app.router.add_delete(PODS + "/{name}", self._delete)
        self._runner = web.AppRunner(app, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _stop(self) -> None:
        for pod in list(self._running.values()):
            pod.kill()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._cut(False)
        await self._runner.cleanup()

    # ---- HTTP --------------------------------------------------------------------------------------------------------

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        self.asked.append((request.method, request.path))
        if self.away:
            request.transport.abort()
            raise asyncio.CancelledError
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return refusal(401, "Unauthorized", "Unauthorized")
        try:
            return await handler(request)
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
            return refusal(403, "Forbidden", f"the executor's Role does not grant {request.method} {request.path}")

    async def _tell_version(self, _: web.Request) -> web.Response:
        return web.json_response({"major": "1", "minor": "32", "gitVersion": "v1.32.4"})

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(json.loads(json.dumps(body)))
        name = body["metadata"]["name"]
        if name in self.pods:
            return refusal(409, "AlreadyExists", f'pods "{name}" already exists')
        if wrong := invalid(body):
            return refusal(422, "Invalid", wrong)
        if wrong := "; ".join(complaints(body["spec"])):
            return refusal(
                403, "Forbidden", f'pods "{name}" is forbidden: violates PodSecurity "restricted:latest": {wrong}'
            )
        body["metadata"] |= {"uid": secrets.token_hex(8), "creationTimestamp": now(), "namespace": NAMESPACE}
        body["status"] = {"phase": "Pending"}
        self.pods[name] = body
        await self._tell("ADDED", body)
        self._spawn(self._live(name))
        return web.json_response(body, status=201)

    async def _read(self, request: web.Request) -> web.Response:
        pod = self.pods.get(request.match_info["name"])
        return web.json_response(pod) if pod else missing(request.match_info["name"])

    async def _delete(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        pod = self.pods.get(name)
        if pod is None:
            return missing(name)
        text = await request.text()
        options = json.loads(text) if text else {}
        grace = int(request.query.get("gracePeriodSeconds", (options or {}).get("gracePeriodSeconds", 30)))
        pod["metadata"]["deletionTimestamp"] = now()
        await self._tell("MODIFIED", pod)
        running = self._running.get(name)
        if running is not None:
            running.kill()
        if running is None or grace == 0:
            await self._forget(name)
        return web.json_response(pod)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        wanted = dict(pair.split("=", 1) for pair in request.query.get("labelSelector", "").split(",") if pair)
        if request.query.get("watch") in ("true", "True", "1"):
            return await self._watch(request, wanted)
        found = [pod for pod in self.pods.values() if matches(pod, wanted)]
        kind = {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": str(self._version)}}
        return web.json_response(kind | {"items": found})

    async def _watch(self, request: web.Request, wanted: dict[str, str]) -> web.StreamResponse:
        after = int(request.query.get("resourceVersion") or self._version)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        self._watches.add(response)
        try:
            if after < self._version and (not self._log or self._log[0][0] > after + 1):
                gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": f"too old resource version: {after}"}
                await line(response, {"type": "ERROR", "object": gone})
                return response
            mark = {"kind": "Pod", "metadata": {"resourceVersion": str(self._version)}}
            await line(response, {"type": "BOOKMARK", "object": mark})
            while response in self._watches:
                for version, kind, pod in [entry for entry in self._log if entry[0] > after]:
                    after = version
                    if matches(pod, wanted):
                        await line(response, {"type": kind, "object": pod})
                async with self._news:
                    while self._version <= after and response in self._watches:
                        await self._news.wait()
        finally:
            self._watches.discard(response)
        return response

    async def _cut(self, forget: bool) -> None:
        self._watches.clear()
        if forget:
            self._log.clear()
            self._version += 10
        async with self._news:
            self._news.notify_all()

    # ---- the node ----------------------------------------------------------------------------------------------------

    async def _live(self, name: str) -> None:
        pod = self.pods[name]
        if self.unschedulable:
            unmet = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": self.unschedulable}
            await self._status(name, {"phase": "Pending", "conditions": [unmet]})
            return
        if self.waiting is not None:
            await self._status(
                name, {"phase": "Pending", "containerStatuses": [{"name": "sandbox", "state": self.waiting}]}
            )
            return
        self._number += 1
        address = f"127.77.{self._number // 250}.{self._number % 250 + 1}"
        mark = f"{secrets.token_hex(4)}-{name}"
        running = self._running[name] = LocalPod(pod["spec"], mark, self.volumes, address)
        try:
            await running.start(self._bwrap, self._python, self.directory / "etc")
            if not self.policies:
                await running.open_door()
            state = {"name": "sandbox", "state": {"running": {"startedAt": now()}}}
            await self._status(name, {"phase": "Running", "podIP": address, "containerStatuses": [state]})
            self._spawn(running.listen())
            code, reason, message = await running.ended()
        finally:
            del self._running[name]
            await running.clear()
        state = {"name": "sandbox", "state": {"terminated": {"exitCode": code, "reason": reason, "message": message}}}
        phase = "Succeeded" if code == 0 else "Failed"
        if name in self.pods and self.pods[name]["status"].get("reason") != "Evicted":
            await self._status(name, {"phase": phase, "podIP": address, "containerStatuses": [state]})
        if name in self.pods and "deletionTimestamp" in self.pods[name]["metadata"]:
            await self._forget(name)

    async def _evict(self, name: str, message: str) -> None:
        await self._status(name, {"phase": "Failed", "reason": "Evicted", "message": message})
        self._running[name].kill()

    async def _status(self, name: str, status: Json) -> None:
        if name in self.pods:
            self.pods[name]["status"] = status
            await self._tell("MODIFIED", self.pods[name])

    async def _forget(self, name: str) -> None:
        pod = self.pods.pop(name, None)
        if pod is not None:
            await self._tell("DELETED", pod)

    async def _tell(self, kind: str, pod: Json) -> None:
        self._version += 1
        pod["metadata"]["resourceVersion"] = str(self._version)
        self._log.append((self._version, kind, json.loads(json.dumps(pod))))
        async with self._news:
            self._news.notify_all()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def matches(pod: Json, wanted: dict[str, str]) -> bool:
    labels = pod["metadata"].get("labels", {})
    return all(labels.get(name) == value for name, value in wanted.items())


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def invalid(body: Json) -> str:
    """What the schema of a recent Kubernetes says against it, unknown keys included; empty where it says nothing."""
    import kubernetes_validate

    try:
        kubernetes_validate.validate(body, "1.32", strict=True)
    except kubernetes_validate.ValidationError as error:
        return str(error)
    return ""


def refusal(status: int, reason: str, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "code": status, "reason": reason, "message": message}, status=status)


def missing(name: str) -> web.Response:
    return refusal(404, "NotFound", f'pods "{name}" not found')


async def line(response: web.StreamResponse, event: Json) -> None:
    await response.write(json.dumps(event).encode() + b"\n")
