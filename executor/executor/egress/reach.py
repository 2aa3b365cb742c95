"""From a name that the rules allow to a connection: resolved once, looked at, and connected to the very address that was
looked at, so that a name whose answer changes in between (DNS rebinding) gains nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from executor.egress import addresses, refusal
from executor.egress.addresses import Address, Kind
from executor.egress.rules import Host, Rules

Resolve = Callable[[str], Awaitable[list[str]]]
"""A host name to its addresses, as text. Raises OSError when there are none."""

RESOLVE_S = 10.0
CONNECT_S = 10.0
TRIED = 4  # addresses of one name
READ_AHEAD = 64 * 1024


class Reached(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    address: Address


class SystemResolver:
    """What this machine's resolver says. It has threads of its own: a slow name server must hold up nothing else."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(8, "egress-dns")

    async def __call__(self, name: str) -> list[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, _resolve, name)
        return list(dict.fromkeys(found))


def _resolve(name: str) -> list[str]:
    return [str(info[4][0]) for info in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]


async def look_up(host: Host, rules: Rules, resolve: Resolve) -> list[Address]:
    """The addresses that a sandbox may be connected to under this name. Raises Refusal when there is none."""
    found = [host.address] if host.address is not None else addresses.parse(await _ask(host, resolve))
    usable = addresses.reachable(found, rules.private_is_meant(host))
    if usable:
        return usable[:TRIED]
    if not found:
        raise refusal.unreachable(host.name, "its name has no address")
    could_be_meant = any(addresses.kind(one) is Kind.PRIVATE for one in found)
    raise refusal.private(host.name) if could_be_meant else refusal.never(host.name)


async def _ask(host: Host, resolve: Resolve) -> list[str]:
    try:
        async with asyncio.timeout(RESOLVE_S):
            return await resolve(host.name)
    except TimeoutError:
        raise refusal.unreachable(host.name, "its name could not be looked up in time") from None
    except (OSError, UnicodeError):
        raise refusal.unreachable(host.name, "its name could not be looked up") from None


async def connect(host: Host, port: int, candidates: list[Address]) -> Reached:
    """To the first of the addresses that answers. Raises Refusal."""
    for address in candidates:
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await asyncio.open_connection(str(address), port, limit=READ_AHEAD)
            return Reached(reader, writer, address)
        except OSError:  # TimeoutError is one
            continue
    raise refusal.unreachable(host.name, f"nothing answers there on port {port}")
