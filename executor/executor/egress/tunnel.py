"""A tunnel: bytes both ways, once the sandbox has said whom it wants to talk to."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from executor.egress import hello
from executor.egress.carry import CHUNK, Meter, Side, both, copy
from executor.egress.refusal import Refusal, no_tls, other_name
from executor.egress.rules import HTTPS
from executor.egress.wanted import Wanted


async def tunnel(early: bytes, wanted: Wanted, sandbox: Side, host: Side, meter: Meter) -> None:
    """`early` has been read from the sandbox already. Raises Refusal when the sandbox has used up what it may move, or
    talks to somebody else than it said."""
    await both(_up(early, wanted, sandbox, host, meter), copy(host.reader, sandbox.writer, meter.count_down))


async def _up(early: bytes, wanted: Wanted, sandbox: Side, host: Side, meter: Meter) -> None:
    try:
        first = await _greeting(early, wanted, sandbox.reader)
    except Refusal:
        sandbox.writer.write(hello.ALERT)
        raise
    with suppress(OSError):
        meter.count_up(len(first))
        host.writer.write(first)
        await copy(sandbox.reader, host.writer, meter.count_up)


async def _greeting(said: bytes, wanted: Wanted, reader: asyncio.StreamReader) -> bytes:
    """The first the sandbox says, when it may. On the port of https it must be TLS; elsewhere, what else the host speaks is
    the operator's affair, but TLS still has to name the host. Raises Refusal."""
    strict = wanted.port == HTTPS
    while wanted.host.address is None:  # an address has no name that TLS could ask for
        try:
            name = hello.server_name(said)
        except hello.NoHello:
            break
        except hello.Incomplete:
            more = await reader.read(CHUNK) if len(said) < hello.MOST else b""
            if not more:
                break
            said += more
        else:
            if name == wanted.host.name or not (name or strict):
                return said
            raise other_name(wanted.host.name)
    if strict and wanted.host.address is None:
        raise no_tls(wanted.host.name)
    return said
