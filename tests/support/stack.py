"""The whole of docker-compose.yml, started as an operator does: a clean copy of the checkout, `.env` from `.env.example`, a
project of its own, the obedient model in the model server's place. Everything is reached through the published port."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.docker import docker, engine

ROOT = Path(__file__).resolve().parents[2]
OVERRIDE = Path("tests/stack/compose.yml")
BASES = ("debian:bookworm-slim", "python:3.11-slim-bookworm", "node:20-bookworm-slim", "postgres:15-bookworm",
         "redis:7-bookworm")  # fmt: skip
SUPPLIER = "CODEACT_TEST_BASE_IMAGES"  # names a program that makes the base images it is told, where no registry answers
LASTING = ("postgres", "redis", "executor", "backend", "frontend")
PULL_S, BUILD_S, UP_S, HEALTHY_S = 120, 3000, 600, 120.0


@cache
def unavailable() -> str:
    """Why there can be no stack here; empty when there can."""
    if why := engine() or ("" if compose_command() else "neither docker-compose nor `docker compose` is installed"):
        return why
    missing = [image for image in BASES if docker("image", "inspect", image).returncode]
    missing = [image for image in missing if docker("pull", "-q", image, timeout=PULL_S).returncode]
    if missing and (program := os.environ.get(SUPPLIER)):
        subprocess.run([program, *missing], check=True, timeout=BUILD_S)
        missing = [image for image in missing if docker("image", "inspect", image).returncode]
    return f"no registry has {', '.join(missing)} ({SUPPLIER} may name a program that makes them)" if missing else ""


@cache
def compose_command() -> tuple[str, ...]:
    """The v2 plugin, or docker-compose 1.29; empty when there is neither."""
    if shutil.which("docker") and docker("compose", "version").returncode == 0:
        return ("docker", "compose")
    return ("docker-compose",) if shutil.which("docker-compose") else ()


class Stack:
    """`directory` gets the copy; `more` are lines of .env that differ from .env.example."""

    def __init__(self, directory: Path, project: str, **more: str) -> None:
        self.directory, self.project = directory, project
        self.data = directory / "executor-data"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.build_s = self.ready_s = 0.0
        self.settings = {
            "COMPOSE_PROFILES": "",
            "CODEACT_TAG": "test",
            "CODEACT_HTTP_PORT": str(self.port),
            "CODEACT_EXECUTOR_DATA_DIR": str(self.data),
            "CODEACT_REGISTRATION": "open",
            **more,
        }

    # ---- its life ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Copies, builds what changed, and starts; returns when everything is healthy."""
        self.copy()
        begun = time.monotonic()
        self.compose("build", timeout=BUILD_S)
        self.build_s = time.monotonic() - begun
        self.up()

    def up(self, *arguments: str) -> None:
        begun = time.monotonic()
        self.compose("up", "-d", *arguments, timeout=UP_S)
        for service in LASTING:
            self.healthy(service)
        self.ready_s = time.monotonic() - begun

    def copy(self) -> None:
        listed = subprocess.run(
            ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
        )
        for name in listed.stdout.decode().split("\0"):
            source, target = ROOT / name, self.directory / name
            if name and source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
        text = (self.directory / ".env.example").read_text()
        for name, value in self.settings.items():
            text, found = re.subn(rf"^#?{name}=.*$", f"{name}={value}", text, count=1, flags=re.MULTILINE)
            text += "" if found else f"\n{name}={value}\n"
        (self.directory / ".env").write_text(text)

    def down(self) -> None:
        """Removes all of it: containers, networks, volumes, and sandboxes, which would outlive their executor."""
        self.compose("down", "--volumes", "--remove-orphans", "-t", "5", timeout=UP_S)
        for container in self.sandboxes():
            docker("rm", "--force", "--volumes", container)
        shutil.rmtree(self.data, ignore_errors=True)

    def compose(self, *arguments: str, timeout: float = 300) -> str:
        """What it printed. Raises AssertionError with all its words."""
        command = [*compose_command(), "-p", self.project, "-f", "docker-compose.yml", "-f", str(OVERRIDE), *arguments]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("CODEACT_", "COMPOSE_"))}
        if docker("buildx", "version").returncode:
            environment["DOCKER_BUILDKIT"] = "0"  # the classic builder is what there is
        done = subprocess.run(
            command, cwd=self.directory, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}\n{self.said()}"
        return done.stdout

    def said(self) -> str:
        """The last lines of every container's log, for whoever looks for a cause."""
        names = docker("ps", "-a", "--filter", f"name={self.project}", "--format", "{{.Names}}").stdout.split()
        logs = ((name, docker("logs", "--tail", "15", name)) for name in names)
        return "\n".join(f"---- {name}\n{log.stdout}{log.stderr}" for name, log in logs)

    # ---- its containers ----------------------------------------------------------------------------------------------

    def containers(self, service: str) -> list[str]:
        labels = (f"com.docker.compose.project={self.project}", f"com.docker.compose.service={service}")
        return docker(
            "ps", "-aq", "--no-trunc", *(part for label in labels for part in ("--filter", f"label={label}"))
        ).stdout.split()

    def container(self, service: str) -> str:
        found = self.containers(service)
        assert len(found) == 1, (service, found)
        return found[0]

    def inspect(self, service: str) -> dict[str, Any]:
        return inspected(self.container(service))

    def sandboxes(self) -> list[str]:
        """Containers whose files lie in this stack's data directory."""
        all_of_them = docker("ps", "-aq", "--no-trunc", "--filter", "label=codeact.sandbox.id").stdout.split()
        places = ((container, inspected(container)["Mounts"]) for container in all_of_them)
        return [one for one, mounts in places if any(m["Source"].startswith(str(self.data)) for m in mounts)]

    def inside(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        return docker("exec", self.container(service), *command, timeout=60)

    def healthy(self, service: str) -> None:
        """Waits for it. Raises AssertionError with its log."""

        def is_healthy() -> bool:
            states = [inspected(container)["State"] for container in self.containers(service)]
            return bool(states) and all(
                state["Running"] and state.get("Health", {"Status": "healthy"})["Status"] == "healthy" for state in states
            )

        end = time.monotonic() + HEALTHY_S
        while not is_healthy():
            assert time.monotonic() < end, f"{service} does not become healthy\n{self.said()}"
            time.sleep(0.3)

    def crash(self, container: str) -> None:
        """As `kill -9` of its first process does; returns when its restart policy has started it again. (`docker kill`
        would tell the engine that this was meant.)"""
        state = inspected(container)["State"]
        os.kill(state["Pid"], signal.SIGKILL)
        end = time.monotonic() + HEALTHY_S
        while (now := inspected(container)["State"])["StartedAt"] == state["StartedAt"] or not now["Running"]:
            assert time.monotonic() < end, f"it is not started again\n{self.said()}"
            time.sleep(0.1)

    async def answers(self, path: str = "/healthz") -> None:
        """Waits until a backend answers through the proxy."""
        async with aiohttp.ClientSession() as http:

            async def ok() -> bool:
                try:
                    async with http.get(self.url + path, timeout=aiohttp.ClientTimeout(total=5)) as answer:
                        return answer.status == 200
                except (aiohttp.ClientError, TimeoutError):
                    return False

            await until(ok)


def inspected(container: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(docker("inspect", container).stdout)
    return found[0] if found else {"State": {"Running": False}, "Mounts": []}


async def until(true: Callable[[], Any], within_s: float = 90.0) -> None:
    """Asks again and again: what happens in containers tells nobody here."""
    async with asyncio.timeout(within_s):
        while not await true():
            await asyncio.sleep(0.3)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
