"""What the measurements share: reporting, CPU of processes, servers as processes, and raw clients.

Rules: what is compared runs in the same minute, in turns (A B A B); medians; the same client technique on both sides; the
first round is thrown away. Absolute figures belong to one machine; ratios travel.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import statistics
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import aiohttp

if TYPE_CHECKING:  # measurements that need no product do not wait for it to be imported
    from tests.support.process import Served

ROOT = Path(__file__).resolve().parents[2]
COOKIES = ("codeact_session", "codeact_login")  # without accounts, and with them
TICKS = os.sysconf("SC_CLK_TCK")


def report(
    name: str, value: float, unit: str, *, against: str = "", ratio: float | None = None, samples: Sequence[float] = ()
) -> dict[str, Any]:
    """Print one figure: the median `value`, what it is measured against and their ratio, and how the samples spread."""
    line = {
        "name": name,
        "value": _short(value),
        "unit": unit,
        "against": against,
        "ratio": None if ratio is None else _short(ratio),
        "p50": _short(quantile(samples, 0.5)) if samples else _short(value),
        "p95": _short(quantile(samples, 0.95)) if samples else None,
        "n": len(samples) or 1,
    }
    print(json.dumps(line), flush=True)
    return line


def report_ratios(name: str, mine: Sequence[float], theirs: Sequence[float], against: str) -> dict[str, Any]:
    """Print a ratio at the middle and at the slow end: p50 and p95 are ours ÷ theirs, each at its own quantile."""
    p50, p95 = (quantile(mine, share) / quantile(theirs, share) for share in (0.5, 0.95))
    line = {"name": name, "value": _short(p50), "unit": "× theirs", "against": against, "ratio": _short(p50)}
    line |= {"p50": _short(p50), "p95": _short(p95), "n": len(mine)}
    print(json.dumps(line), flush=True)
    return line


def quantile(samples: Sequence[float], share: float) -> float:
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def middle(samples: Sequence[float]) -> float:
    return statistics.median(samples)


def _short(value: float) -> float:
    return float(f"{value:.4g}")


# ---- processes -------------------------------------------------------------------------------------------------------


def cpu_s(pid: int) -> float:
    """CPU seconds that one process has used, user and system, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def tree(pid: int) -> list[int]:
    """The process and everything that descends from it."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found


def cpu_tree_s(pid: int) -> float:
    return sum(cpu_s(one) for one in tree(pid) if Path(f"/proc/{one}").exists())


@asynccontextmanager
async def child(*arguments: str) -> AsyncIterator[tuple[str, int]]:
    """`python -m …`; the first line that it prints, and its process id."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, cwd=ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        yield line.decode().strip(), process.pid
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def product(model_url: str, module: str = "orchestrator.cli", **settings: str) -> AsyncIterator[Served]:
    """`codeact serve` with an empty data directory, a codeact model at `model_url`, and no page to show."""
    from tests.support.process import Served

    with tempfile.TemporaryDirectory(prefix="codeact-bench-") as made:
        ui, data = Path(made) / "ui", Path(made) / "data"
        for place in (ui, data):
            place.mkdir()
        (ui / "index.html").write_text("<!doctype html>")
        chosen = {"CODEACT_MODEL_PROFILE": "codeact", "CODEACT_LOG_LEVEL": "warning", "CODEACT_UI_DIR": str(ui)}
        served = Served(data, model_url, **(chosen | {"PYTHONPATH": str(ROOT)} | settings))
        served.command = ("-m", module, "serve")
        async with served:
            yield served


def token_of(served: Served) -> str:
    """The session token of a running product."""
    return (Path(served._data_dir) / "session.token").read_text().strip()


# ---- raw clients -----------------------------------------------------------------------------------------------------


class Direct:
    """One keep-alive connection to a model server, written and read by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> None:
        self._reader = reader
        self._writer = writer
        self._path = path

    @classmethod
    async def connect(cls, base_url: str) -> Self:
        url = urlsplit(base_url)
        reader, writer = await asyncio.open_connection(url.hostname, url.port, limit=1 << 20)
        return cls(reader, writer, f"{url.path}/chat/completions")

    def ask(self, messages: list[dict[str, str]], **fields: Any) -> None:
        body = json.dumps({"model": "m", "stream": True, "max_tokens": 1024, "messages": messages, **fields}).encode()
        lines = [f"POST {self._path} HTTP/1.1", "host: x", "content-type: application/json", f"content-length: {len(body)}"]
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + body)

    async def until(self, mark: bytes) -> bytes:
        """Read until `mark` has come."""
        data = b""
        while mark not in data:
            more = await self._reader.read(1 << 16)
            if not more:
                raise ConnectionError("the model server hung up")
            data += more
        return data

    async def answer(self) -> str:
        """The whole text of the answer."""
        body = await self.until(b"data: [DONE]\n\n")
        if not body.endswith(b"0\r\n\r\n"):
            await self.until(b"0\r\n\r\n")
        chunks = [json.loads(line[6:]) for line in body.split(b"\n") if line.startswith(b"data: {")]
        return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])

    def close(self) -> None:
        self._writer.close()


class Socket:
    """A websocket client over a plain stream (RFC 6455): as little as can be between the socket and the clock."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, base_url: str, token: str = "") -> Self:
        url = urlsplit(base_url)
        reader, writer = await asyncio.open_connection(url.hostname, url.port, limit=1 << 24)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            "GET /ws HTTP/1.1",
            f"Host: {url.netloc}",
            f"Origin: {base_url}",
            "Cookie: " + "; ".join(f"{name}={token}" for name in COOKIES),
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        status = await reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in status.split(b"\r\n")[0]:
            raise ConnectionError(status.decode())
        return cls(reader, writer)

    def send(self, **fields: Any) -> None:
        """One text frame; its mask is zero, which is as good as any against a server."""
        data = json.dumps(fields).encode()
        size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + len(data).to_bytes(2, "big")
        self._writer.write(b"\x81" + size + b"\0\0\0\0" + data)

    async def frame(self) -> bytes:
        """The payload of the next text frame; pings are answered."""
        while True:
            kind, size = await self._reader.readexactly(2)
            if size == 126:
                size = int.from_bytes(await self._reader.readexactly(2), "big")
            elif size == 127:
                size = int.from_bytes(await self._reader.readexactly(8), "big")
            data = await self._reader.readexactly(size)
            if kind == 0x81:
                return data
            if kind == 0x89:
                self._writer.write(bytes([0x8A, 0x80 | size, 0, 0, 0, 0]) + data)
            elif kind == 0x88:
                raise ConnectionError(f"closed by the server: {data!r}")

    async def until(self, *marks: bytes) -> bytes:
        """The first frame that holds one of `marks`."""
        while True:
            data = await self.frame()
            if any(mark in data for mark in marks):
                return data

    def close(self) -> None:
        self._writer.close()


class Chat:
    """One conversation of the product over a raw websocket."""

    def __init__(self, socket: Socket, conversation: str, served: Served) -> None:
        self.socket = socket
        self.conversation = conversation
        self._served = served

    @classmethod
    async def open(cls, served: Served, token: str = "") -> Self:
        """A new conversation, subscribed; of whoever's session the token is."""
        conversation = uuid.uuid4().hex
        cursor = (await page(served, conversation, create=True, token=token))["cursor"]
        socket = await Socket.connect(served.url, token or token_of(served))
        socket.send(type="subscribe", conversation=conversation, cursor=cursor)
        await socket.until(b'"type":"subscribed"')
        return cls(socket, conversation, served)

    def say(self, text: str) -> None:
        self.socket.send(type="message.send", conversation=self.conversation, turn=uuid.uuid4().hex, text=text)

    async def closed(self) -> bytes:
        """The frame that closes the turn."""
        return await self.socket.until(b'"type":"turn.closed"', b'"type":"refused"')

    async def warm(self) -> None:
        """Take one turn, then wait until the sandbox that it called for is ready and the machine its own again."""
        self.say("warm up")
        await self.closed()
        async with asyncio.timeout(60):
            while (await page(self._served, self.conversation))["kernel"]["state"] != "idle":
                await asyncio.sleep(0.2)

    def close(self) -> None:
        self.socket.close()


async def page(served: Served, conversation: str, *, create: bool = False, token: str = "") -> dict[str, Any]:
    """The conversation as a browser loads it."""
    url = f"{served.url}/api/conversations/{conversation}"
    jar = aiohttp.CookieJar(unsafe=True)
    cookies = dict.fromkeys(COOKIES, token or token_of(served))
    async with aiohttp.ClientSession(cookies=cookies, cookie_jar=jar) as http:
        if create:
            await http.put(url, json={}, raise_for_status=True)
        async with http.get(url, raise_for_status=True) as answer:
            found: dict[str, Any] = await answer.json()
            return found
