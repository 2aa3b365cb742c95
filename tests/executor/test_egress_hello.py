"""What a TLS client asks for at first: read from what real ones say, and from what nobody should."""

import asyncio
import contextlib
import logging
import shutil
import ssl
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.egress import hello
from executor.egress.door import Door
from tests.executor.egress_world import Names, dial, door, echo, listening


def said(name: str | None, minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> bytes:
    """A ClientHello by the TLS library that is here."""
    context = ssl.create_default_context()
    context.check_hostname, context.minimum_version = name is not None, minimum
    context.set_alpn_protocols(["h2", "http/1.1"])
    out = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name).do_handshake()
    return out.read()


HELLO = said("pypi.org")


@pytest.mark.parametrize("minimum", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_name_in_a_real_hello(minimum: ssl.TLSVersion) -> None:
    assert hello.server_name(said("pypi.org", minimum)) == "pypi.org"
    assert hello.server_name(said("PyPI.org", minimum) + b"more") == "pypi.org"
    assert hello.server_name(said(None, minimum)) == ""
    assert hello.server_name(said("127.0.0.1", minimum)) == ""


@given(st.integers(0, len(HELLO) - 1))
def test_a_part_of_a_hello_is_incomplete(cut: int) -> None:
    with pytest.raises(hello.Incomplete):
        hello.server_name(HELLO[:cut])


@given(st.lists(st.integers(1, 60), min_size=1, max_size=20))
def test_a_hello_in_many_records_is_put_together(sizes: list[int]) -> None:
    body, pieces = HELLO[5:], b""
    for size in [*sizes, len(body)]:
        piece, body = body[:size], body[size:]
        if piece:
            pieces += HELLO[:3] + len(piece).to_bytes(2, "big") + piece
    assert hello.server_name(pieces) == "pypi.org"


@given(st.integers(0, len(HELLO) - 1), st.integers(0, 255))
def test_a_hello_with_a_wrong_byte_is_read_or_refused(at: int, byte: int) -> None:
    with contextlib.suppress(hello.NoHello, hello.Incomplete):
        assert hello.server_name(HELLO[:at] + bytes([byte]) + HELLO[at + 1 :]).isascii()


@given(st.binary(max_size=300))
def test_anything_else_is_refused_or_incomplete(data: bytes) -> None:
    with pytest.raises((hello.NoHello, hello.Incomplete)):
        hello.server_name(data)


def extension(kind: int, body: bytes) -> bytes:
    return kind.to_bytes(2, "big") + len(body).to_bytes(2, "big") + body


def sni(name: bytes) -> bytes:
    entry = b"\0" + len(name).to_bytes(2, "big") + name
    return extension(0, len(entry).to_bytes(2, "big") + entry)


def made(extensions: bytes) -> bytes:
    body = (
        b"\x03\x03" + b"\0" * 32 + b"\0" + b"\0\x02\x13\x01" + b"\x01\0" + len(extensions).to_bytes(2, "big") + extensions
    )
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


@pytest.mark.parametrize(
    "extensions",
    [
        sni(b"pypi.org") + sni(b"evil.example"),
        extension(0, b"\0\x0b\x01\0\x08pypi.org"),
        extension(0, b"\0\x16\0\0\x08pypi.org\0\0\x08evil.org"),
        sni("pypí.org".encode()),
        sni(b"pypi.org")[:-3],
        extension(0, b""),
    ],
)
def test_two_names_or_half_a_name_are_none(extensions: bytes) -> None:
    assert hello.server_name(made(sni(b"pypi.org") + extension(21, b"\0" * 40))) == "pypi.org"
    with pytest.raises(hello.NoHello):
        hello.server_name(made(extensions))


def test_an_endless_hello_is_none() -> None:
    with pytest.raises(hello.NoHello):
        hello.server_name(b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + b"\0" * (0x4000 - 4))


# ---- in the proxy ----------------------------------------------------------------------------------------------------


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path: a socket's name has 107 bytes at most."""
    where = Path(tempfile.mkdtemp(prefix="egress-"))
    yield where
    shutil.rmtree(where)


async def through(way: Door, to: str, first: bytes, cuts: tuple[int, ...] = ()) -> bytes:
    """What comes back for `first` in a tunnel, until it is as long or the tunnel ends."""
    reader, writer = await dial(way)
    try:
        writer.write(f"CONNECT {to} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 200 Connected\r\n\r\n"
        for start, end in pairwise((0, *cuts, len(first))):
            writer.write(first[start:end])
            await asyncio.sleep(0.01)
        async with asyncio.timeout(20):
            try:
                return await reader.readexactly(len(first))
            except asyncio.IncompleteReadError as short:
                return short.partial
    finally:
        writer.close()


async def test_t9_a_tunnel_to_one_host_is_none_to_its_neighbours(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Hosts that share a machine are told apart by TLS alone."""
    caplog.set_level(logging.INFO)
    async with listening(echo) as upstream:
        to = f"good.test:{upstream.port}"
        async with door(directory, Names({"good.test": [["127.0.0.1"]]}), to) as (egress, way):
            for first in (said("good.test"), said(None), b"SSH-2.0-x\r\n" + b"x" * 300):
                assert await through(way, to, first, (3, 200)) == first
            for name in ("evil.example", "good.test.evil.example", "x.good.test"):
                assert await through(way, to, said(name)) == hello.ALERT
            assert len(upstream.heard) == 6 and upstream.heard[3:] == [b"", b"", b""]
    reasons = [vars(record)["reason"] for record in caplog.records if record.name == "executor.egress"]
    assert sorted(reasons) == ["", "", "", "other_name", "other_name", "other_name"]


async def test_t9_on_the_port_of_https_nothing_but_https_is_spoken(directory: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        try:
            upstream = await stack.enter_async_context(listening(echo, "127.0.0.9", 443))
        except OSError as error:
            pytest.skip(f"port 443 cannot be had here: {error}")
        async with door(directory, Names({"good.test": [["127.0.0.9"]]}), "good.test") as (_, way):
            first = said("good.test")
            assert await through(way, "good.test:443", first, (3, 200)) == first
            for other in (said("evil.example"), said(None), b"SSH-2.0-x\r\n" + b"x" * 300, b"GET / HTTP/1.1\r\n\r\n"):
                assert await through(way, "good.test:443", other) == hello.ALERT
            assert [bytes(heard) for heard in upstream.heard[1:]] == [b""] * 4
