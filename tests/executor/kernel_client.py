"""The least of a Jupyter client, for tests that look into a sandbox: one websocket, cells one after another."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import aiohttp

from executor.sandbox.base import Sandbox

SUBPROTOCOL = "v1.kernel.websocket.jupyter.org"


def pack(channel: str, message: dict) -> bytes:
    parts = [
        channel.encode(),
        *(json.dumps(message[key]).encode() for key in ("header", "parent_header", "metadata", "content")),
    ]
    offsets = [8 * (len(parts) + 2)]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    return b"".join([len(offsets).to_bytes(8, "little"), *(at.to_bytes(8, "little") for at in offsets), *parts])


def unpack(data: bytes) -> tuple[str, list[bytes]]:
    count = int.from_bytes(data[:8], "little")
    offsets = [int.from_bytes(data[8 * i : 8 * i + 8], "little") for i in range(1, count + 1)]
    channel, *parts = (data[low:high] for low, high in pairwise(offsets))
    return channel.decode(), parts


@dataclass
class Result:
    """What a cell gave: its text on both streams, its error if any, every message."""

    stdout: str = ""
    stderr: str = ""
    error: str = ""
    messages: list = field(default_factory=list)


class Client:
    def __init__(self, ws: aiohttp.ClientWebSocketResponse, http: aiohttp.ClientSession, kernel_id: str) -> None:
        self.ws, self.http, self.kernel_id = ws, http, kernel_id

    async def send(self, code: str) -> str:
        id = uuid.uuid4().hex
        header = {
            "msg_id": id,
            "msg_type": "execute_request",
            "session": "test",
            "username": "",
            "version": "5.4",
            "date": "",
        }
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False, "stop_on_error": True}
        await self.ws.send_bytes(pack("shell", {"header": header, "parent_header": {}, "metadata": {}, "content": content}))
        return id

    async def receive(self) -> tuple[str, dict, dict, dict]:
        """channel, header, parent header, content of the next message. Raises ConnectionError at the end."""
        message = await self.ws.receive()
        if message.type is not aiohttp.WSMsgType.BINARY:
            raise ConnectionError(str(message.type))
        channel, parts = unpack(message.data)
        header, parent, _, content = (json.loads(part) for part in parts[:4])
        return channel, header, parent, content

    async def run(self, code: str, timeout: float = 60) -> Result:
        async with asyncio.timeout(timeout):
            id, result, idle, replied = await self.send(code), Result(), False, False
            while not (idle and replied):
                channel, header, parent, content = await self.receive()
                kind = header["msg_type"]
                if kind == "status" and content["execution_state"] == "restarting":
                    result.error = "restarting"
                    return result
                if parent.get("msg_id") != id:
                    continue
                result.messages.append((kind, content))
                if kind == "stream":
                    setattr(result, content["name"], getattr(result, content["name"]) + content["text"])
                elif kind == "error":
                    result.error = f"{content['ename']}: {content['evalue']}"
                idle |= kind == "status" and content["execution_state"] == "idle"
                replied |= channel == "shell"
            return result

    async def restarted(self) -> None:
        """Until the gateway says that the kernel is being replaced."""
        async with asyncio.timeout(10):
            while (await self.receive())[3].get("execution_state") != "restarting":
                pass

    async def post(self, action: str) -> int:
        async with self.http.post(f"http://sandbox/api/kernels/{self.kernel_id}/{action}") as response:
            return response.status


@asynccontextmanager
async def connect(sandbox: Sandbox) -> AsyncIterator[Client]:
    connector = sandbox.connector()
    headers = {"Authorization": f"token {sandbox.token}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as http:
        async with http.get("http://sandbox/api/kernels") as response:
            [kernel] = await response.json()
        url = f"http://sandbox/api/kernels/{kernel['id']}/channels?session_id={uuid.uuid4().hex}"
        async with http.ws_connect(url, protocols=[SUBPROTOCOL], max_msg_size=0) as ws:
            yield Client(ws, http, kernel["id"])


async def run(sandbox: Sandbox, code: str, timeout: float = 60) -> Result:
    """Runs one cell on a connection of its own."""
    async with connect(sandbox) as client:
        return await client.run(code, timeout)
