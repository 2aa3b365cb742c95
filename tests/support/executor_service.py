"""The executor as a service in a process of its own, and the Kernel port over it as the orchestrator has it."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from executor.local import make_backend
from executor.settings import Settings
from orchestrator.adapters.kernel_http import HttpKernel

ROOT = Path(__file__).resolve().parents[2]


class Executor:
    """`python -m executor serve` on a port of loopback that was free, the same in every life. Blocks until it listens."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        self.token = secrets.token_hex(16)
        self.data_dir = data_dir
        self.settings = settings
        self.lines: list[dict[str, object]] = []
        self.port = "0"
        self.start()

    def start(self) -> None:
        """The first life, or the next one after `stop`."""
        own = {"PORT": self.port, "TOKEN": self.token, "DATA_DIR": str(self.data_dir)}
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "executor"), str(ROOT)])}
        environment |= {f"CODEACT_EXECUTOR_{name}": value for name, value in own.items()} | self.settings
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "executor", "serve"],
            env=environment,
            cwd=self.data_dir,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._listening.wait(30) and self.url, self.lines

    def _read(self) -> None:
        """Its log, kept for tests to look at."""
        self.url = ""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            said = json.loads(line) if line.startswith("{") else {"message": line.rstrip()}
            self.lines.append(said)
            if said.get("message") == "listening":
                self.url = f"http://{said['host']}:{said['port']}"
                self.port = str(said["port"])
                self._listening.set()
        self._listening.set()

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ends it and waits; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        status = self.process.wait(60)
        self._reader.join(5)
        return status

    def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Another life with the same data, on the same port."""
        self.stop(how)
        self.start()


class ServedKernel(HttpKernel):
    """A Kernel with an executor of its own, which ends with it, sandboxes included."""

    def __init__(self, executor: Executor) -> None:
        super().__init__(executor.url, executor.token, f"test-{secrets.token_hex(4)}")
        self.executor = executor

    async def close(self) -> None:
        await super().close()
        await remove_all(self.executor)
        await end(self.executor)


async def end(executor: Executor) -> None:
    """Stops it, and ends the sandboxes that it left to a next life: nobody else would, for hours."""
    await asyncio.to_thread(executor.stop)
    await end_left(executor.data_dir, executor.settings)


async def end_left(data_dir: Path, environment: Mapping[str, str]) -> None:
    """What a service that ran with this environment and has ended left to its next life."""
    prefix = "CODEACT_SANDBOX_"
    ours = {name.removeprefix(prefix): value for name, value in environment.items() if name.startswith(prefix)}
    chosen: dict[str, Any] = {name.lower(): value for name, value in ours.items()}
    backend = make_backend(data_dir, Settings(_env_file=None, **chosen))
    await backend.adopt()
    await backend.close()


async def remove_all(executor: Executor) -> None:
    """Ends every sandbox that a conversation has, files included: a service leaves them to its next life."""
    headers = {"Authorization": f"Bearer {executor.token}", "X-Owner": "cleaner"}
    workspaces = executor.data_dir / "workspaces"
    names = [path.name for path in workspaces.iterdir() if not path.name.startswith(".")] if workspaces.is_dir() else []
    async with aiohttp.ClientSession(executor.url, headers=headers) as http:
        for name in names:
            async with http.delete(f"/v1/conversations/{name}") as answer:
                assert answer.status in (204, 409), await answer.text()


def served(**settings: str) -> Callable[[Path], ServedKernel]:
    """Makes kernels over an executor with these settings (names without `CODEACT_SANDBOX_`)."""
    chosen = {f"CODEACT_SANDBOX_{name.upper()}": value for name, value in settings.items()}
    return lambda data_dir: ServedKernel(Executor(data_dir, **{"CODEACT_SANDBOX_WARM": "0"} | chosen))
