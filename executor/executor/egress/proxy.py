"""One connection from a sandbox: one request, looked at, answered in words or passed on, and accounted for.

Each connection carries a single request, so nothing that follows it can be mistaken for another one.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import h11

from executor.egress.account import Account
from executor.egress.carry import Meter, Side
from executor.egress.exchange import Exchange, next_event
from executor.egress.reach import Reached, Resolve, connect, look_up
from executor.egress.refusal import Refusal, Verdict, malformed
from executor.egress.rules import Rules
from executor.egress.tunnel import tunnel
from executor.egress.wanted import Wanted, wanted

CONNECTED = b"HTTP/1.1 200 Connected\r\n\r\n"
LINGER_S, LINGER = 2.0, 1024**2  # for a client that is still sending when it is refused


@dataclass(frozen=True, slots=True)
class Way:
    """What decides about one sandbox's requests."""

    rules: Rules
    resolve: Resolve
    account: Account


@dataclass(slots=True)
class Record:
    """What is known of one request, for the log: never its path, headers or body. `reason` names what ended it, when
    that was not the end of what it had to say."""

    host: str = ""
    port: int = 0
    address: str = ""
    verdict: Verdict = Verdict.FAILED
    reason: str = ""
    up: int = 0
    down: int = 0


class NothingAsked(Exception):
    """The connection was closed again without a request."""


async def serve(sandbox: Side, way: Way, record: Record) -> None:
    """Fills `record` as things become known. Raises NothingAsked. Does not close the sandbox's side."""
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=way.account.caps.head)
    try:
        await way.account.turn()
        asked = wanted(await _head(http, sandbox, way.account.caps.head_s))
        record.host, record.port = asked.host.name, asked.port
        way.rules.check(asked.host, asked.port, plain=asked.plain is not None)
        way.account.check()
        reached = await connect(asked.host, asked.port, await look_up(asked.host, way.rules, way.resolve))
        try:
            await _pass_on(http, asked, sandbox, reached, way.account, record)
        finally:
            hang_up(reached.writer)
    except Refusal as refused:
        record.verdict, record.reason = refused.verdict, refused.reason
        if http.our_state is h11.IDLE or http.our_state is h11.SEND_RESPONSE:
            await _answer(sandbox, refused)


async def _head(http: h11.Connection, sandbox: Side, within_s: float) -> h11.Request:
    try:
        async with asyncio.timeout(within_s):
            event = await next_event(http, sandbox.reader)
    except TimeoutError:
        raise malformed("The request took too long to arrive.", 408) from None
    except h11.RemoteProtocolError as error:
        raise malformed("That is no HTTP request this proxy can read.", error.error_status_hint) from None
    if not isinstance(event, h11.Request):
        raise NothingAsked
    return event


async def _pass_on(
    http: h11.Connection, asked: Wanted, sandbox: Side, reached: Reached, account: Account, record: Record
) -> None:
    host = Side(reached.reader, reached.writer)
    record.verdict, record.address = Verdict.ALLOWED, str(reached.address)
    async with asyncio.timeout(account.caps.idle_s) as clock:
        meter = Meter(account, clock)
        try:
            if asked.plain is not None:
                await Exchange(http, asked, sandbox, host, meter).run()
            else:
                http.send(h11.Response(status_code=200, headers=[]))
                sandbox.writer.write(CONNECTED)
                await tunnel(http.trailing_data[0], asked, sandbox, host, meter)
        finally:
            record.up, record.down = meter.up, meter.down


def hang_up(writer: asyncio.StreamWriter) -> None:
    """At once: nobody is left to read the answer to what is still to be sent."""
    writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()


async def _answer(sandbox: Side, refused: Refusal) -> None:
    """The words are in the first line as well: that is all of an answer to CONNECT that most clients show."""
    body = f"{refused.words}\n"
    head = (
        f"HTTP/1.1 {refused.status} {refused.words}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    with suppress(OSError):
        async with asyncio.timeout(LINGER_S):
            sandbox.writer.write(f"{head}{body}".encode())
            await sandbox.writer.drain()
            sandbox.writer.write_eof()
            left = LINGER
            while left > 0 and (data := await sandbox.reader.read(LINGER)):
                left -= len(data)
