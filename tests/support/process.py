"""The product as its user starts it: `codeact serve` in a process of its own, which a test may kill."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from tests.support.app import Tab, new_id

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0


class Served:
    """`codeact serve` on a free port with a data directory. Leaving the context stops it as Ctrl-C does."""

    command = ("-m", "orchestrator.cli", "serve")

    def __init__(self, data_dir: Path, model_url: str, **settings: str) -> None:
        self._env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CODEACT_")},
            "CODEACT_DATA_DIR": str(data_dir),
            "CODEACT_MODEL_URL": model_url,
            "CODEACT_MODEL_NAME": "scripted",
            "CODEACT_PORT": "0",
            **settings,
        }
        self._data_dir = data_dir
        self.url = ""
        self.output = ""
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._sessions: list[aiohttp.ClientSession] = []

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    async def start(self) -> None:
        """Start it and wait until it says where the chat is."""
        self.output, self.url = "", ""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, *self.command, cwd=self._data_dir, env=self._env,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        self._reader = asyncio.create_task(self._read())
        async with asyncio.timeout(START_S):
            while not self.url:
                if self._process.returncode is not None:
                    raise RuntimeError(f"codeact serve ended: {self.output}")
                await asyncio.sleep(0.02)

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.output += line.decode(errors="replace")
            found = re.search(r"http://[\w.\[\]:]+:\d+", self.output)
            if found and not self.url:
                self.url = found.group(0).rstrip("/")

    async def kill(self) -> None:
        """As `kill -9` does."""
        self.process.kill()
        await self._ended()

    async def interrupt(self) -> int:
        """As Ctrl-C does; the exit status."""
        self.process.send_signal(signal.SIGINT)
        return await self._ended()

    async def _ended(self) -> int:
        async with asyncio.timeout(30):
            status = await self.process.wait()
        if self._reader is not None:
            await self._reader
        return status

    async def tab(self, conversation: str | None = None) -> Tab:
        """A tab on a conversation (a new one when None), loaded and connected."""
        http = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
        self._sessions.append(http)
        token = (self._data_dir / "session.token").read_text().strip()
        http.cookie_jar.update_cookies({"codeact_session": token})
        tab = Tab(http, self.url, conversation or new_id())
        if conversation is None:
            async with http.put(f"{self.url}/api/conversations/{tab.conversation}", json={}) as answer:
                assert answer.status == 200, await answer.text()
        await tab.load()
        await tab.connect()
        return tab

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for session in self._sessions:
            await session.close()
        if self.process.returncode is None:
            await self.interrupt()
