"""What stands between the event loop and the disk: a few threads, and a bound on how much goes on at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from executor.sandbox.base import Limits
from executor.storage.errors import Busy
from executor.storage.room import Rooms
from executor.storage.writing import Writer

THREADS = 8
AT_ONCE = 64  # requests for files that are being answered; each holds some descriptors and half a megabyte
HEAVY = 2  # of those, that inflate or pack
WAIT_S = 10.0  # for a turn

P = ParamSpec("P")
T = TypeVar("T")


class Disk:
    """Work for threads. What a thread has begun it ends, also when nobody waits for it any more."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "files")
        self._sweeper = ThreadPoolExecutor(1, "files-sweeper")
        self._all = asyncio.Semaphore(AT_ONCE)
        self._heavy = asyncio.Semaphore(HEAVY)

    async def do(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *args, **kwargs))

    def later(self, work: Callable[[], object]) -> None:
        """Without waiting for it: closing and clearing away, which must also happen when the caller is cancelled."""
        self._threads.submit(work)

    def sometime(self, work: Callable[[], object]) -> None:
        """For what may take long and nobody waits for."""
        self._sweeper.submit(work)

    async def turn(self, heavy: bool = False) -> Turn:
        """Wait for a turn; give it back with `end`. Raises Busy when there is none for too long."""
        gates = [self._all, self._heavy] if heavy else [self._all]
        held: list[asyncio.Semaphore] = []
        try:
            async with asyncio.timeout(WAIT_S):
                for gate in gates:
                    await gate.acquire()
                    held.append(gate)
        except BaseException as error:
            Turn(held).end()
            if isinstance(error, TimeoutError):
                raise Busy("Too many files are being read or written. Try again in a moment.") from None
            raise
        return Turn(held)

    @asynccontextmanager
    async def taking_turns(self, heavy: bool = False) -> AsyncIterator[None]:
        turn = await self.turn(heavy)
        try:
            yield
        finally:
            turn.end()


@dataclass(frozen=True)
class Desk:
    """What the routes share. `root` gives the directory of a conversation's workspace."""

    root: Callable[[str], Path]
    limits: Limits
    disk: Disk
    rooms: Rooms
    writer: Writer


def make_desk(root: Callable[[str], Path], limits: Limits) -> Desk:
    rooms = Rooms(limits.workspace)
    return Desk(root, limits, Disk(), rooms, Writer(limits.file_size, rooms))


class Turn:
    def __init__(self, held: list[asyncio.Semaphore]) -> None:
        self._held = held

    def end(self) -> None:
        """Idempotent."""
        while self._held:
            self._held.pop().release()
