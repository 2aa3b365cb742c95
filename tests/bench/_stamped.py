"""A model server whose tokens are the time at which each left it, and a reader that says how late they came.

`python -m tests.bench._stamped TOKENS RATE`; prints its own URL. Every answer is TOKENS tokens, RATE of them a second; each
is the machine's monotonic clock in microseconds. One asyncio.Protocol on uvloop; streams that began together are spread
over the time between two tokens, as people are.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from typing import cast

import uvloop

STAMP = re.compile(rb"<(\d+)>")
HEAD = b"HTTP/1.1 200 x\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


class Stamped(asyncio.Protocol):
    def __init__(self, tokens: int, rate: float) -> None:
        self._tokens, self._pause = tokens, 1 / rate
        self._data = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if not found or len(body) < (int(length[1]) if length else 0):
            return
        self._data = b""
        if head.startswith(b"GET"):
            listed = b'{"object":"list","data":[{"id":"scripted","object":"model"}]}'
            about = b"HTTP/1.1 200 x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(listed)
            self._transport.write(about + listed)
            return
        self._transport.write(HEAD)
        begun = asyncio.get_running_loop().time() + self._pause * (id(self) % 997) / 997
        self._at(begun, 0)

    def _at(self, begun: float, n: int) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(begun + n * self._pause, lambda: self._token(begun, n))

    def _token(self, begun: float, n: int) -> None:
        if n == self._tokens:
            self._transport.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(END), END))
            return
        event = b'data: {"choices":[{"index":0,"delta":{"content":"<%d>"},"finish_reason":null}]}\n\n' % now_us()
        self._transport.write(b"%x\r\n%s\r\n" % (len(event), event))
        self._at(begun, n + 1)


def now_us() -> int:
    return time.monotonic_ns() // 1000


def delays_ms(frame: bytes) -> list[float]:
    """How long ago the tokens in a frame left the model server. Closing events say them again: those are not meant."""
    if b'"type":"text.delta"' not in frame:
        return []
    now = now_us()
    return [(now - int(stamp)) / 1000 for stamp in STAMP.findall(frame)]


async def main(tokens: int, rate: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Stamped(tokens, rate), "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), float(sys.argv[2])))
