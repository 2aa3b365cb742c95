"""One of several servers that share a store: says that it lives, and closes the turns of those that do not any more.

All times are the database's. A server that was itself away (stopped, cut off, or the database was down) judges nobody until
the others have had time to say that they live, and looks first whether its own turns are still its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from orchestrator.closing import Closer
from orchestrator.errors import CodeActError, Conflict, KernelUnavailable
from orchestrator.ports import Kernel, LeftOpen

log = logging.getLogger(__name__)

BEAT_S = 2.0
"""Between two signs of life, and two looks for the turns of the dead, which are closed within 15 s of their death: 10 until
they are taken for dead, and this."""
AWAY_S = 3 * BEAT_S
"""A silence of our own that long means that we were away; and so long others have to speak up once we are back."""
KERNEL_S = 15.0
"""So long a kernel is asked for that cannot be had: a cell of a server that is dead ends with its lease before."""


class Replica:
    """`were_away` is called after a silence of ours, before anything else is done."""

    def __init__(self, closer: Closer, kernel: Kernel, were_away: Callable[[], Awaitable[None]]) -> None:
        self._closer = closer
        self._store, self._owner = closer.store, closer.owner
        self._kernel = kernel
        self._were_away = were_away
        self._judges_from = 0.0  # on the loop's clock
        self._beaten = 0.0
        self._closing: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def start(self) -> None:
        """From now on the others know us. Raises StoreUnavailable."""
        await self._store.beat(self._owner)
        self._beaten = self._now()
        self._judges_from = self._now() + AWAY_S

    async def live(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                await self._beat()
                if self._now() >= self._judges_from:
                    await self._look()
            except CodeActError as error:
                log.warning("this server cannot say that it lives: %s", error)
            except Exception:  # whatever it was, a server that does not beat is taken for dead
                log.exception("the heart stumbled")

    async def close(self) -> None:
        """The turns that we left open are anybody's at once."""
        for task in list(self._closing.values()):
            task.cancel()
        try:
            await self._store.leave(self._owner)
        except CodeActError as error:
            log.warning("the other servers could not be told that this one ends: %s", error)

    async def _beat(self) -> None:
        gap = max(await self._store.beat(self._owner), self._now() - self._beaten)
        self._beaten = self._now()
        if gap >= AWAY_S:
            log.warning("this server was away for %.0f s", gap)
            self._judges_from = self._now() + AWAY_S
            await self._were_away()

    async def _look(self) -> None:
        for left in await self._store.left_open(self._owner):
            key = (left.conversation, left.turn)
            if key not in self._closing:
                task = self._closing[key] = asyncio.create_task(self._take_over(left))
                task.add_done_callback(partial(self._done, key))

    def _done(self, key: tuple[str, str], _: asyncio.Task[None]) -> None:
        del self._closing[key]

    async def _take_over(self, left: LeftOpen) -> None:
        """The turn first: from then on its owner stores nothing, so what it has not handed to the kernel, it will not. Then
        the kernel: what its owner has handed over is stopped, or refused."""
        try:
            turn = await self._store.take_over(left, self._owner)
            if turn is None:
                return
            log.warning("turn %s was left open by a server that is dead", left.turn)
            await self._closer.close(turn, await self._kernel_of(left.conversation))
        except Conflict:
            log.info("turn %s was taken over by another server", left.turn)
        except Exception:
            log.exception("turn %s was taken over, and cannot be closed yet", left.turn)
            user = await self._store.user_of(left.conversation)
            await self._closer.close_failed(user or "", left.conversation, left.turn)

    async def _kernel_of(self, conversation: str) -> bool:
        """Whether variables are there. Where the kernel is not to be had, that is not known: then no."""
        until = self._now() + KERNEL_S
        while True:
            try:
                return await self._kernel.take_over(conversation)
            except KernelUnavailable as error:
                if self._now() > until:
                    log.warning("the kernel of conversation %s could not be taken over: %s", conversation, error)
                    return False
                await asyncio.sleep(1.0)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
