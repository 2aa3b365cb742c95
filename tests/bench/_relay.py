"""The floor of a relay: server-sent events in, websocket frames out, and nothing else. One asyncio.Protocol each way, no
JSON, no framework, no store. `python -m tests.bench._relay BASE_URL TOKENS`; prints its own URL."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import sys
from typing import cast
from urllib.parse import urlsplit

import uvloop

BODY = b'{"model":"m","stream":true,"max_tokens":100000,"messages":[{"role":"user","content":"go"}]}'
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Upstream(asyncio.Protocol):
    """One answer of the model server; what comes in one read goes out as one frame."""

    def __init__(self, down: asyncio.Transport, host: str) -> None:
        self._down = down
        self._host = host
        self._body = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._up = cast(asyncio.Transport, transport)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {self._host}\r\ncontent-length: {len(BODY)}\r\n\r\n"
        self._up.write(head.encode() + BODY)

    def data_received(self, data: bytes) -> None:
        if not self._body:
            _, found, data = data.partition(b"\r\n\r\n")
            self._body = bool(found)
        events = data[data.find(b"data:") : data.rfind(b"\r\n")] if b"data:" in data else b""
        if events:
            size = len(events)
            length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
            self._down.write(b"\x81" + length + events if size < 65536 else b"\x81\x7f" + size.to_bytes(8, "big") + events)
        if data.endswith(b"0\r\n\r\n"):
            self._up.close()


class Downstream(asyncio.Protocol):
    """One browser: any frame that it sends asks the model server."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._open:
            loop = asyncio.get_running_loop()
            self._asking = loop.create_task(
                loop.create_connection(lambda: Upstream(self._transport, self._host), self._host, self._port)
            )
            return
        key = data.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
        accept = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())
        head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        self._transport.write(head + accept + b"\r\n\r\n")
        self._open = True


async def serve(base_url: str) -> None:
    url = urlsplit(base_url)
    host, port = url.hostname or "127.0.0.1", url.port or 80
    server = await asyncio.get_running_loop().create_server(lambda: Downstream(host, port), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
