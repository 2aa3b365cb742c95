"""Which hosts a sandbox may ask for, by name. Pure.

Names are compared in one form: lower case, IDNA's ASCII, no trailing dot. What is an address in any spelling is no name; it
is allowed only where the operator listed that very address. What a name leads to is looked at in `addresses`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

import idna

from executor.egress import refusal

HTTPS = 443
INDEXES = "indexes"  # on the operator's list: those that this machine's pip uses
LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
AUTHORITY = re.compile(r"(\[[^\[\]@/]*\]|[^:\[\]@/?#\\\s]+)(?::([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Host:
    """`name` as it is compared; `address` when it is one."""

    name: str
    address: IPv4Address | IPv6Address | None = None


def host(text: str) -> Host:
    """Raises ValueError, with words, for what is neither a host name nor an address in its usual spelling."""
    if text.startswith("["):
        return _bracketed(text)
    name = (text.lower() if text.isascii() else _ascii(text)).removesuffix(".")
    labels = name.split(".")
    if len(name) > 253 or not all(LABEL.fullmatch(label) for label in labels):
        raise ValueError("that is no host name")
    if not NUMBER.fullmatch(labels[-1]):
        return Host(name)
    try:  # what ends in a number is an address to every resolver, in spellings from 127.1 to 0x7f000001
        return Host(name, IPv4Address(name))
    except ValueError:
        raise ValueError("addresses must be spelled as four decimal numbers") from None


def _ascii(text: str) -> str:
    try:
        return idna.encode(text, uts46=True).decode().lower()
    except (idna.IDNAError, UnicodeError):
        raise ValueError("that is no host name") from None


def _bracketed(text: str) -> Host:
    try:
        address = IPv6Address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise ValueError("that is no IPv6 address") from None
    if address.scope_id is not None:
        raise ValueError("addresses with a zone are not reached from here")
    return Host(f"[{address.compressed}]", address)


def authority(text: str) -> tuple[Host, int | None]:
    """`host`, `host:port`, `[address]:port`. Raises ValueError."""
    found = AUTHORITY.fullmatch(text)
    if found is None:
        raise ValueError("that is no host with a port")
    port = int(found[2]) if found[2] is not None else None
    if port is not None and not 0 < port < 65536:
        raise ValueError("a port is a number from 1 to 65535")
    return host(found[1]), port


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the operator's list. Without a port: https on 443 alone. With one: that port, also for plain http.
    `below`: every name below the host's, but not the host itself."""

    host: Host
    port: int | None = None
    below: bool = False

    def names(self, other: Host) -> bool:
        if self.below:
            return other.address is None and other.name.endswith(f".{self.host.name}")
        return other == self.host

    def covers(self, other: Host, port: int, plain: bool) -> bool:
        wanted = port == HTTPS and not plain if self.port is None else port == self.port
        return wanted and self.names(other)

    def __str__(self) -> str:
        return ("*." if self.below else "") + self.host.name + (f":{self.port}" if self.port is not None else "")


def entry(text: str) -> Entry:
    """`host`, `*.host`, `host:port`. Raises ValueError, with words that name `text`."""
    below = text.startswith("*.")
    try:
        found, port = authority(text.removeprefix("*.") if below else text)
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}; write host, *.host or host:port") from None
    if below and found.address is not None:
        raise ValueError(f"{text!r}: nothing lies below an address")
    return Entry(found, port, below)


def entries(text: str) -> tuple[Entry, ...]:
    """Entries separated by commas. Raises ValueError."""
    return tuple(dict.fromkeys(entry(word.strip()) for word in text.split(",") if word.strip()))


@dataclass(frozen=True, slots=True)
class Rules:
    """`private`: hosts whose private addresses are meant (their ports do not matter)."""

    allowed: tuple[Entry, ...]
    private: tuple[Entry, ...] = ()

    def check(self, host: Host, port: int, plain: bool) -> None:
        """Raises Refusal. `plain`: http without TLS, read and passed on by the proxy; else a tunnel."""
        if any(entry.covers(host, port, plain) for entry in self.allowed):
            return
        if any(entry.names(host) for entry in self.allowed):
            raise refusal.other_port(host.name, port)
        raise refusal.not_listed(host.name, [str(entry) for entry in self.allowed])

    def private_is_meant(self, host: Host) -> bool:
        return any(entry.names(host) for entry in self.private)
