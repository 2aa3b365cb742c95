"""Whom a TLS client wants to talk to, by the first thing it says (ClientHello, RFC 8446 §4.1.2; server_name, RFC 6066 §3).
Pure.

A host on the list is often served by a machine that serves thousands of others. Without this look, a tunnel to the one
would be a tunnel to them all: it takes no more than another name in here.
"""

from __future__ import annotations

HANDSHAKE, CLIENT_HELLO, SERVER_NAME, HOST_NAME = 22, 1, 0, 0
MOST = 64 * 1024  # bytes; real ones have 300 to 2,000
ALERT = bytes((21, 3, 1, 0, 2, 2, 112))  # fatal: unrecognized_name


class Incomplete(Exception):
    """More has to be read."""


class NoHello(Exception):
    """This is no ClientHello."""


class _Reader:
    """Reads fields off the front. Raises NoHello where there is less than there should be."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, size: int) -> bytes:
        if len(self.data) < size:
            raise NoHello
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def sized(self, size: int) -> _Reader:
        """A field whose length comes first, in `size` bytes."""
        return _Reader(self.take(self.number(size)))


def server_name(data: bytes) -> str:
    """The name that a ClientHello asks for, in lower case; empty when it names none. `data` is what has been read so far.
    Raises Incomplete, NoHello."""
    hello = _Reader(_handshake(data))
    hello.take(2 + 32)  # version, random
    for size in (1, 2, 1):  # session, cipher suites, compression
        hello.sized(size)
    extensions = hello.sized(2) if hello.data else hello
    names = []
    while extensions.data:
        kind, body = extensions.number(2), extensions.sized(2)
        if kind == SERVER_NAME:
            names.append(_name(body))
    if len(names) > 1:
        raise NoHello
    return names[0] if names else ""


def _name(body: _Reader) -> str:
    names = body.sized(2)
    if names.number(1) != HOST_NAME:
        raise NoHello
    name = names.sized(2).data
    if names.data or body.data or not name.isascii():
        raise NoHello
    return name.decode("ascii").lower().removesuffix(".")


def _handshake(data: bytes) -> bytes:
    """The first handshake message, put together from its records; a ClientHello."""
    message = b""
    while len(message) < 4 or len(message) < 4 + int.from_bytes(message[1:4], "big"):
        if data[:1] not in (b"", bytes((HANDSHAKE,))) or data[1:2] not in (b"", b"\x03"):
            raise NoHello
        if message[:1] not in (b"", bytes((CLIENT_HELLO,))) or int.from_bytes(message[1:4], "big") > MOST:
            raise NoHello
        size = int.from_bytes(data[3:5], "big")
        if len(data) >= 5 and not 0 < size <= 1 << 14:
            raise NoHello
        if len(data) < 5 or len(data) < 5 + size:
            raise Incomplete
        message, data = message + data[5 : 5 + size], data[5 + size :]
    if message[0] != CLIENT_HELLO:
        raise NoHello
    return message[4 : 4 + int.from_bytes(message[1:4], "big")]
