"""One request = one whole turn: opens it, follows it to its end, and stops it when nobody listens any more."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter
from starlette.types import Receive

from orchestrator.errors import NotFound, TurnIsOpen
from orchestrator.journal import channel
from orchestrator.observability.turns import arrived
from orchestrator.ports import Bus, Store, TooOld
from orchestrator.protocol.events import Event, TurnClosed, Via
from orchestrator.turns import Turns

_EVENT: TypeAdapter[Event] = TypeAdapter(Event)

_stopping: set[asyncio.Task[None]] = set()
"""Stops that outlive the request they belong to: its task is already being cancelled."""


def new_id() -> str:
    return uuid.uuid4().hex


@dataclass
class Door:
    """The turn that this request opens. `leave` it in the end, whatever happened."""

    store: Store
    bus: Bus
    turns: Turns
    user: str
    conversation: str
    turn: str = field(default_factory=new_id)
    _cursor: str = ""
    _closed: bool = False

    async def open(self, text: str, via: Via) -> None:
        """Raises `NotFound`, `TurnIsOpen`, `StoreUnavailable`."""
        self._cursor = await self.bus.head(channel(self.conversation))
        with arrived(via, self.conversation, self.turn):
            opened = await self.turns.open(self.user, self.conversation, self.turn, text, via)
        if opened == "unknown":
            raise NotFound
        if opened == "busy":
            raise TurnIsOpen

    async def events(self) -> AsyncGenerator[list[Event], None]:
        """The turn's events in batches, the last of which ends with its `TurnClosed`."""
        async with aclosing(self._told()) as batches:
            async for batch in batches:
                self._closed = any(isinstance(event, TurnClosed) for event in batch)
                if batch:
                    yield batch
                if self._closed:
                    return

    def leave(self) -> None:
        """Nobody listens any more: a turn that is still open is stopped."""
        if not self._closed:
            task = asyncio.get_running_loop().create_task(self.turns.stop(self.conversation, self.turn))
            _stopping.add(task)
            task.add_done_callback(_stopping.discard)

    async def _told(self) -> AsyncGenerator[list[Event], None]:
        try:
            async with aclosing(self.bus.follow(channel(self.conversation), self._cursor)) as batches:
                async for batch in batches:
                    events = [_EVENT.validate_json(entry.data) for entry in batch]
                    yield [event for event in events if getattr(event, "turn", None) == self.turn]
        except TooOld:  # the turn told more than is retained before we read it: what it was is in the store
            await self.turns.wait(self.conversation, self.turn)
            facts = await self.store.events(self.conversation)
            yield [event for event in facts if event.turn == self.turn]


async def finished_before_gone(receive: Receive, work: Coroutine[Any, Any, None]) -> bool:
    """Do `work`, or as much of it as there is time for until the client hangs up; whether it was all. Raises what the work
    raises."""
    gone = asyncio.create_task(_hung_up(receive))
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({gone, task}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
            return True
        return False
    finally:
        for one in (gone, task):
            one.cancel()
        await asyncio.wait({gone, task})


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
