"""The egress proxy: one door, that is one Unix socket, for every sandbox that was granted a network."""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import h11

from executor.egress import beside
from executor.egress.account import Account, Caps, Counters
from executor.egress.beside import Beside
from executor.egress.carry import Side
from executor.egress.proxy import NothingAsked, Record, Way, serve
from executor.egress.reach import READ_AHEAD, Resolve
from executor.egress.refusal import Verdict
from executor.egress.rules import Rules

log = logging.getLogger("executor.egress")

PART_S = 30.0
NOTHING = "nothing asked"

Count = Callable[[Verdict, int, int], None]  # verdict, bytes up, bytes down
Gone = Callable[["Door"], None]


class Tenant(Protocol):
    """Whoever a door is for; a sandbox is one."""

    conversation: str | None


@dataclass
class Nobody:
    conversation: str | None = None


class Door:
    """One sandbox's way out. `of` names the conversation in the log: None while the sandbox is warm."""

    def __init__(self, sandbox_id: str, path: Path, listener: socket.socket, way: Way, count: Count, gone: Gone) -> None:
        self.sandbox_id = sandbox_id
        self.path = path
        self.of: Tenant = Nobody()
        self._listener = listener
        self._way = way
        self._count = count
        self._gone = gone
        self._visits: set[asyncio.Task[None]] = set()
        self._accepting = asyncio.create_task(self._accept())

    async def close(self, keep: bool = False) -> None:
        """Ends every connection. The directory is removed; with `keep` it stays, for a sandbox that is left to the next
        life of the executor, which opens its door again. Idempotent."""
        self._gone(self)
        self._accepting.cancel()
        for visit in self._visits:
            visit.cancel()
        await asyncio.gather(self._accepting, *self._visits, return_exceptions=True)
        self._listener.close()
        if not keep:
            await asyncio.to_thread(shutil.rmtree, self.path.parent, ignore_errors=True)

    async def _accept(self) -> None:
        """As many connections at a time as the sandbox may have; the others wait, in the kernel, to be accepted."""
        loop = asyncio.get_running_loop()
        places = asyncio.Semaphore(self._way.account.caps.connections)
        while True:
            await places.acquire()
            try:
                connection, _ = await loop.sock_accept(self._listener)
            except OSError as error:  # no descriptor is left just now
                log.warning("cannot accept", extra={"sandbox": self.sandbox_id, "cause": str(error)})
                places.release()
                await asyncio.sleep(0.5)
                continue
            visit = asyncio.create_task(self._visit(connection))
            self._visits.add(visit)
            visit.add_done_callback(partial(self._done, connection, places))

    def _done(self, connection: socket.socket, places: asyncio.Semaphore, visit: asyncio.Task[None]) -> None:
        self._visits.discard(visit)
        connection.close()  # of a visit that was cancelled before it began
        places.release()

    async def _visit(self, connection: socket.socket) -> None:
        try:
            reader, writer = await asyncio.open_unix_connection(sock=connection, limit=READ_AHEAD)
        except OSError:
            return
        record, began = Record(), time.monotonic()
        try:
            await self._serve(Side(reader, writer), record)
            await self._part(writer)
        finally:
            writer.transport.abort()
            if record.reason != NOTHING:
                self._note(record, time.monotonic() - began)

    async def _serve(self, sandbox: Side, record: Record) -> None:
        try:
            await serve(sandbox, self._way, record)
        except NothingAsked:
            record.reason = NOTHING
        except TimeoutError:
            record.reason = "idle"
        except (OSError, h11.ProtocolError):
            record.reason = "broken"
        except asyncio.CancelledError:
            record.reason = record.reason or "closed"
            raise
        except Exception:
            record.reason = "error"
            log.exception("a request could not be served", extra={"sandbox": self.sandbox_id})

    async def _part(self, writer: asyncio.StreamWriter) -> None:
        """Waits, within reason, until the sandbox has read the rest."""
        with suppress(OSError):
            async with asyncio.timeout(PART_S):
                writer.close()
                await writer.wait_closed()

    def _note(self, record: Record, seconds: float) -> None:
        self._count(record.verdict, record.up, record.down)
        facts: dict[str, object] = {
            "conversation": self.of.conversation,
            "sandbox": self.sandbox_id,
            "host": record.host,
            "port": record.port,
            "address": record.address,
            "verdict": str(record.verdict),
            "reason": record.reason,
            "bytes_up": record.up,
            "bytes_down": record.down,
            "duration_ms": round(seconds * 1000),
        }
        log.info("egress", extra=facts)


class Egress:
    """All doors of one executor, and what they have in common. `left_out`: package indexes that no sandbox can use, in
    words; they are logged when the first door is opened, since without one they do not matter."""

    def __init__(
        self, rules: Rules, resolve: Resolve, files: Beside, caps: Caps | None = None, left_out: tuple[str, ...] = ()
    ) -> None:
        self.left_out = left_out
        self.rules = rules
        self.counters = Counters()
        self._resolve = resolve
        self._files = files
        self._caps = caps or Caps()
        self._doors: dict[str, Door] = {}
        self._opened = False

    async def open(self, sandbox_id: str, path: Path) -> Door:
        """A door whose socket is `path`, alone in a directory of its own that is made when missing; `Spec.egress` is to
        be this path. The same call again, in a later life of the executor, serves a sandbox that has outlived the first.
        Raises OSError."""
        if not self._opened:
            self._opened = True
            for words in self.left_out:
                log.warning("sandboxes cannot use one of the package indexes: %s", words)
        await asyncio.to_thread(beside.lay_out, path.parent, self._files)
        listener = await asyncio.to_thread(beside.listen, path)
        way = Way(self.rules, self._resolve, Account(self._caps))
        if (before := self._doors.pop(sandbox_id, None)) is not None:
            await before.close(keep=True)
        self._doors[sandbox_id] = door = Door(sandbox_id, path, listener, way, self.counters.count, self._gone)
        return door

    def _gone(self, door: Door) -> None:
        if self._doors.get(door.sandbox_id) is door:
            del self._doors[door.sandbox_id]

    async def close(self, keep: bool = False) -> None:
        """Closes every door that is open."""
        await asyncio.gather(*(door.close(keep) for door in list(self._doors.values())))
