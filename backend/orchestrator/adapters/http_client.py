"""HTTP/1.1 to one server, for requests whose answers are streamed: what a general client does for each of them costs more
than everything else between a user's message and the first word of its answer.

No redirects, cookies, proxies or compressed bodies. Connections are kept for a while and used again, the latest first. The
parsing is llhttp's (httptools); what is written here is who waits for what. Failures are OSErrors.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping

from aiohappyeyeballs import start_connection
from yarl import URL

from executor import tracing
from orchestrator.adapters.http_connection import Broken, Connection, Response

CONNECT_S = 10.0


class Client:
    """For one scheme, host and port: those of `url`. `headers` go with every request."""

    def __init__(self, url: URL, headers: Mapping[str, str], keep_alive_s: float) -> None:
        if url.host is None or url.port is None:
            raise ValueError(f"{url} names no host")
        self._host, self._port, self._tls = url.host, url.port, url.scheme == "https"
        lines = {"Host": url.host_port_subcomponent or url.host, **headers}
        self._fixed = "".join(f"{name}: {_one_line(value)}\r\n" for name, value in lines.items()).encode()
        self._keep_alive_s = keep_alive_s
        self._context: ssl.SSLContext | None = None
        self._kept: list[Connection] = []  # the latest used last
        self._open: set[Connection] = set()
        self._sweep: asyncio.TimerHandle | None = None

    async def request(self, method: str, target: str, body: bytes = b"") -> Response:
        """The answer's head; its body is read from it. `target`: path and query. It must be released in the end. It is
        part of the trace that the caller is part of."""
        connection = self._take() or await self._connect()
        length = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        trace = tracing.current().header
        traced = f"{tracing.HEADER}: {trace}\r\n" if trace else ""
        head = f"{method} {target} HTTP/1.1\r\n{length}{traced}".encode()
        response = connection.ask(head + self._fixed + b"\r\n" + body)
        try:
            await response.headed
        except BaseException:
            connection.abort()
            raise
        return response

    def close(self) -> None:
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self._open):
            connection.abort()

    # ---- connections -------------------------------------------------------------------------------------------------

    async def _connect(self) -> Connection:
        if self._tls and self._context is None:
            self._context = await asyncio.to_thread(ssl.create_default_context)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                addresses = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
                sock = await start_connection(addresses, happy_eyeballs_delay=0.25, interleave=1)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                name = self._host if self._tls else None
                _, connection = await loop.create_connection(
                    lambda: Connection(self._keep, self._open), sock=sock, ssl=self._context, server_hostname=name
                )
        except TimeoutError:
            raise Broken(f"no connection within {CONNECT_S:.0f} s") from None
        return connection

    def _take(self) -> Connection | None:
        oldest = asyncio.get_running_loop().time() - self._keep_alive_s
        while self._kept:
            connection = self._kept.pop()
            if connection.usable and connection.used >= oldest:
                return connection
            connection.abort()
        return None

    def _keep(self, connection: Connection) -> None:
        self._kept.append(connection)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(self._keep_alive_s, self._drop_old)

    def _drop_old(self) -> None:
        """Connections that have not been used for long are ended by us, before the server does."""
        loop = asyncio.get_running_loop()
        for connection in self._kept:
            if loop.time() - connection.used >= self._keep_alive_s:
                connection.abort()
        self._kept = [connection for connection in self._kept if connection.usable]
        self._sweep = loop.call_later(self._keep_alive_s, self._drop_old) if self._kept else None


def _one_line(value: str) -> str:
    if "\r" in value or "\n" in value:
        raise ValueError("a header's value is one line")
    return value
