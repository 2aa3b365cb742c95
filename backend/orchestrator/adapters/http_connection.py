"""One connection of the HTTP client, and one answer on it. llhttp (httptools) says what the bytes mean."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import httptools
from multidict import CIMultiDict

MOST_HEAD = 64 * 1024  # bytes of one answer's headers
MOST_WAITING = 256 * 1024  # bytes of a body that nobody has read yet, after which the socket is left alone


class Broken(ConnectionError):
    """The connection ended, or what came is not HTTP."""


class Response:
    """One answer. Read it to its end and release it, and its connection is used again; release it earlier, and the
    connection ends, which is what tells the server to stop."""

    def __init__(self, connection: Connection) -> None:
        self.status = 0
        self.headers: CIMultiDict[str] = CIMultiDict()
        self._loop = asyncio.get_running_loop()
        self.headed: asyncio.Future[None] = self._loop.create_future()
        self._connection = connection
        self._chunks: list[bytes] = []
        self._waiting = 0  # bytes of these
        self._ended = False
        self._error: Exception | None = None
        self._reader: asyncio.Future[None] | None = None
        self._on_end: Callable[[], None] | None = None

    @property
    def content_type(self) -> str:
        """Without parameters, lower case."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def ended(self) -> bool:
        """Whether all of the body has come, be it read or not."""
        return self._ended

    def on_end(self, act: Callable[[], None]) -> None:
        """`act` is called when the last of the body has come, or the connection has ended."""
        self._on_end = act

    async def read_some(self) -> bytes:
        """What there is, or else what comes next; empty at the end. Raises Broken, or what `fail` was given."""
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._ended:
                return b""
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._waiting = 0
        self._connection.go_on()
        return data

    async def read(self, most: int) -> bytes:
        """The whole body, or the first of it, at least `most` bytes."""
        data = b""
        while len(data) < most and (more := await self.read_some()):
            data += more
        return data

    def release(self) -> None:
        self._connection.done(self)

    # ---- what comes --------------------------------------------------------------------------------------------------

    def begin(self, status: int) -> None:
        self.status = status
        if not self.headed.done():
            self.headed.set_result(None)

    def add(self, data: bytes) -> None:
        self._chunks.append(data)
        self._waiting += len(data)
        if self._waiting > MOST_WAITING:
            self._connection.pause()
        self._wake()

    def end(self) -> None:
        self._ended = True
        self._wake()
        if self._on_end is not None:
            self._on_end()

    def fail(self, error: Exception) -> None:
        """Whoever reads hears of it after what has come before."""
        if self._ended or self._error is not None:
            return
        self._error = error
        if not self.headed.done():
            self.headed.set_exception(error)
            self.headed.exception()  # heard, even if nobody waits any more
        self._wake()
        if self._on_end is not None:
            self._on_end()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


class Connection(asyncio.Protocol):
    """One connection; one request at a time. `keep` is called when it is free again; it belongs to `all` while it lives."""

    def __init__(self, keep: Callable[[Connection], None], all: set[Connection]) -> None:
        self.used = 0.0  # when it last became free, on the loop's clock
        self.usable = False
        self._keep = keep
        self._all = all
        self._parser = httptools.HttpResponseParser(self)
        self._response: Response | None = None
        self._whole = False  # the answer has come to its end
        self._framed = False  # the answer says itself where it ends
        self._again = False  # the server lets the connection be used again
        self._head = 0  # bytes of headers so far
        self._paused = False

    def ask(self, request: bytes) -> Response:
        self._response = response = Response(self)
        self._whole = self._framed = False
        self._head = 0
        self._transport.write(request)
        return response

    def done(self, response: Response) -> None:
        """Nobody reads `response` any more."""
        if self._response is not response:
            return
        self._response = None
        if self.usable and self._whole and self._again:
            self.go_on()
            self.used = asyncio.get_running_loop().time()
            self._keep(self)
        else:
            self.abort()

    def abort(self) -> None:
        self.usable = False
        self._transport.abort()

    def pause(self) -> None:
        if self.usable and not self._paused:
            self._transport.pause_reading()
            self._paused = True

    def go_on(self) -> None:
        if self.usable and self._paused:
            self._transport.resume_reading()
            self._paused = False

    # ---- asyncio.Protocol --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._all.add(self)
        self.usable = True

    def data_received(self, data: bytes) -> None:
        if self._response is None or self._whole:
            self.abort()  # nobody has asked
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(Broken(f"what the server sends is no answer: {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        self.usable = False
        self._all.discard(self)
        response = self._response
        if response is None:
            return
        if response.status and not self._framed:
            response.end()
        else:
            response.fail(error or Broken("the server closed the connection"))

    def _fail(self, error: Exception) -> None:
        if self._response is not None:
            self._response.fail(error)
        self.abort()

    # ---- llhttp ------------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._whole:
            raise Broken("an answer that nobody asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head += len(name) + len(value)
        if self._head > MOST_HEAD:
            raise Broken("too many headers")
        if self._response is not None:
            self._response.headers.add(name.decode("latin-1"), value.decode("utf-8", "surrogateescape"))

    def on_headers_complete(self) -> None:
        response, status = self._response, self._parser.get_status_code()
        if response is None:
            return
        if status < 200:  # the answer itself is still to come
            response.headers.clear()
            return
        self._framed = "Content-Length" in response.headers or "Transfer-Encoding" in response.headers
        response.begin(status)

    def on_body(self, data: bytes) -> None:
        if self._response is not None:
            self._response.add(data)

    def on_message_complete(self) -> None:
        if self._response is not None and self._response.status:
            self._whole, self._again = True, self._parser.should_keep_alive()
            self._response.end()
