"""The HTTP client against a server that answers byte by byte as the test says."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from yarl import URL

from orchestrator.adapters.http_client import Client
from orchestrator.adapters.http_connection import MOST_WAITING, Broken

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
Answering = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Hands every request, as bytes, to `answering`. `requests` by connection."""

    def __init__(self, answering: Answering) -> None:
        self.requests: list[list[bytes]] = []
        self.ended = asyncio.Event()  # some client has hung up
        self._answering = answering

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mine: list[bytes] = []
        self.requests.append(mine)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length")), 0)
                mine.append(head + await reader.readexactly(length))
                await self._answering(mine[-1], writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.ended.set()
        finally:
            writer.close()


@asynccontextmanager
async def serving(answering: Answering | bytes, keep_alive_s: float = 10.0) -> AsyncIterator[tuple[Server, Client]]:
    async def same(_: bytes, writer: asyncio.StreamWriter) -> None:
        assert isinstance(answering, bytes)
        writer.write(answering)

    server = Server(same if isinstance(answering, bytes) else answering)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    client = Client(URL(f"http://127.0.0.1:{port}/v1"), {"User-Agent": "me", "Authorization": "Bearer kéy"}, keep_alive_s)
    try:
        async with asyncio.timeout(10):
            yield server, client
    finally:
        client.close()
        listening.close()


async def fetch(client: Client, body: bytes = b"") -> bytes:
    response = await client.request("POST", "/v1/x?y=1", body)
    try:
        return await response.read(1 << 20)
    finally:
        response.release()


async def test_what_goes_out_is_one_request_with_its_headers_and_body():
    async with serving(OK) as (server, client):
        assert await fetch(client, b'{"a":1}') == b"ok"
    head, _, body = server.requests[0][0].partition(b"\r\n\r\n")
    first, *headers = head.decode().split("\r\n")
    assert first == "POST /v1/x?y=1 HTTP/1.1" and body == b'{"a":1}'
    assert {"Content-Length: 7", "User-Agent: me", "Authorization: Bearer kéy"} < set(headers)
    assert sum(line.startswith("Host: 127.0.0.1:") for line in headers) == 1


async def test_a_header_cannot_bring_another_one_along():
    with pytest.raises(ValueError, match="one line"):
        Client(URL("http://h/"), {"Authorization": "Bearer x\r\nEvil: 1"}, 1.0)


async def test_a_connection_is_used_again_once_its_answer_was_read_whole():
    async with serving(OK) as (server, client):
        for _ in range(3):
            assert await fetch(client) == b"ok"
        response = await client.request("GET", "/")
        response.release()  # its end has come with its beginning
        await asyncio.gather(fetch(client), fetch(client))
    assert [len(requests) for requests in server.requests] == [5, 1]


async def test_a_connection_whose_answer_is_left_is_ended():
    async def begin(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")

    async with serving(begin) as (server, client):
        response = await client.request("GET", "/")
        assert await response.read_some() == b"hello" and not response.ended
        response.release()
        await server.ended.wait()


async def test_a_request_that_is_cancelled_is_ended():
    async def say_nothing(_: bytes, writer: asyncio.StreamWriter) -> None:
        return

    async with serving(say_nothing) as (server, client):
        asking = asyncio.create_task(client.request("GET", "/"))
        while not server.requests or not server.requests[0]:
            await asyncio.sleep(0.005)
        asking.cancel()
        await server.ended.wait()


async def test_an_idle_connection_is_ended_by_us():
    async with serving(OK, keep_alive_s=0.1) as (server, client):
        await fetch(client)
        await server.ended.wait()
        await fetch(client)
    assert len(server.requests) == 2


async def test_a_kept_connection_that_the_server_ends_is_not_used():
    async def once(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await writer.drain()
        writer.close()

    async with serving(once) as (server, client):
        for _ in range(3):
            assert await fetch(client) == b"ok"
            await asyncio.sleep(0.05)  # the end is heard of
    assert len(server.requests) == 3


@pytest.mark.parametrize("header", [b"connection: close\r\n", b""], ids=["asked", "HTTP/1.0"])
async def test_a_connection_is_not_used_again_against_the_servers_will(header):
    version = b"HTTP/1.1" if header else b"HTTP/1.0"
    async with serving(version + b" 200 OK\r\ncontent-length: 2\r\n" + header + b"\r\nok") as (server, client):
        assert [await fetch(client), await fetch(client)] == [b"ok", b"ok"]
    assert len(server.requests) == 2


async def test_what_nobody_asked_for_ends_the_connection():
    async with serving(OK + OK) as (server, client):
        assert await fetch(client) == b"ok"
        await server.ended.wait()


async def test_an_interim_answer_is_passed_over():
    async with serving(b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + OK) as (_, client):
        response = await client.request("GET", "/")
        assert (response.status, "link" in response.headers) == (200, False)
        assert await response.read(10) == b"ok"
        response.release()


async def test_a_body_without_a_length_ends_with_the_connection():
    async def until_close(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: Text/Plain; charset=utf-8\r\n\r\nall of it")
        await writer.drain()
        writer.close()

    async with serving(until_close) as (_, client):
        response = await client.request("GET", "/")
        assert (await response.read(100), response.content_type) == (b"all of it", "text/plain")
        response.release()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nbad\x00header: 1\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n" * 2000,
    ],
    ids=["nothing", "half a line", "another protocol", "a bad header", "an upgrade", "endless headers"],
)
async def test_what_is_no_answer_is_an_error_at_once(answer):
    async def end(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with serving(end) as (_, client):
        with pytest.raises(OSError):
            await client.request("GET", "/")


@pytest.mark.parametrize(
    "framing",
    [b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", b"content-length: 9\r\n\r\nhello"],
    ids=["chunks", "length"],
)
async def test_a_body_that_breaks_off_is_read_up_to_there(framing):
    async def end(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + framing)
        await writer.drain()
        writer.close()

    async with serving(end) as (_, client):
        response = await client.request("GET", "/")
        assert await response.read_some() == b"hello"
        with pytest.raises(Broken):
            await response.read_some()
        response.release()


async def test_a_body_that_nobody_reads_waits_at_the_server():
    sent = 0

    async def flood(_: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
        for _ in range(1000):
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent += 100_000

    async with serving(flood) as (_, client):
        response = await client.request("GET", "/")
        await asyncio.sleep(0.5)
        held, before = response._waiting, sent
        assert held <= 2 * MOST_WAITING and before < 30_000_000  # ours, and what the sockets hold
        size = 0
        while data := await response.read_some():
            size += len(data)
        assert size == 100_000_000
        response.release()


async def test_a_reader_that_is_failed_from_outside_hears_it():
    async def hang(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")

    async with serving(hang) as (server, client):
        response = await client.request("GET", "/")
        asyncio.get_running_loop().call_later(0.05, response.fail, KeyError("enough"))
        with pytest.raises(KeyError, match="enough"):
            await response.read_some()
        response.release()
        await server.ended.wait()


async def test_a_name_with_an_address_that_does_not_answer_is_reached_at_another(monkeypatch):
    async with serving(OK) as (_, client):
        port = client._port
        real = asyncio.get_running_loop().getaddrinfo

        async def two(host: str, port: int, **options: int):
            answering = await real("127.0.0.1", port, **options)
            return [(*answering[0][:4], ("127.0.0.2", port)), *answering]  # nobody listens at the first

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two)
        named = Client(URL(f"http://two.test:{port}/"), {}, 1.0)
        assert await fetch(named) == b"ok"
        named.close()


async def test_a_server_that_is_not_there_is_an_error_that_says_so():
    client = Client(URL("http://127.0.0.1:9/"), {}, 1.0)
    with pytest.raises(OSError, match=r"failed|refused"):
        await client.request("GET", "/")
    client.close()


async def test_over_tls_a_server_that_nobody_vouches_for_is_refused(tmp_path):
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    made = await asyncio.create_subprocess_exec(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"),
        *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)),
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await made.wait() == 0
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    client = Client(URL(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"), {}, 1.0)
    with pytest.raises(OSError, match="certificate verify failed"):
        await client.request("GET", "/")
    client._context = ssl.create_default_context(cafile=cert)  # as where the operator's own authority is known
    assert await fetch(client) == b"ok"
    client.close()
    server.close()
