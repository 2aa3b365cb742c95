"""Commands from one server to the others, over the bus: for turns and memories that are not here.

They are requests, not facts: one that gets lost with the bus is asked again by whoever pressed the button.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from orchestrator.journal import encode
from orchestrator.ports import OLDEST, Bus, TooOld
from orchestrator.protocol.base import Id, Value

log = logging.getLogger(__name__)

CHANNEL = "control"
AGAIN_S = 1.0
"""A bus that failed is followed anew after that long."""


class Stop(Value):
    """Whoever drives this turn stops it."""

    type: Literal["stop"] = "stop"
    conversation: Id
    turn: Id


class Forget(Value):
    """The conversation was deleted."""

    type: Literal["forget"] = "forget"
    conversation: Id


Request = Annotated[Stop | Forget, Field(discriminator="type")]
_REQUEST: TypeAdapter[Stop | Forget] = TypeAdapter(Request)
Obey = Callable[[Stop | Forget], Awaitable[None]]


class Control:
    """`obey` is called for what any server asks, this one included; it knows what concerns it."""

    def __init__(self, bus: Bus, obey: Obey) -> None:
        self._bus = bus
        self._obey = obey

    async def ask(self, request: Stop | Forget) -> None:
        await self._bus.publish(CHANNEL, encode(request))

    async def follow(self, cursor: str | None = None) -> None:
        """For ever. A bus that has forgotten where we stood is followed from the oldest that it holds: hearing a request
        again changes nothing."""
        while True:
            try:
                cursor = cursor or await self._bus.head(CHANNEL)
                async for batch in self._bus.follow(CHANNEL, cursor):
                    for entry in batch:
                        cursor = entry.cursor
                        await self._heard(entry.data)
            except TooOld:
                cursor = OLDEST
            except Exception as error:
                log.warning("the other servers are not heard: %s", error)
                await asyncio.sleep(AGAIN_S)

    async def _heard(self, data: bytes) -> None:
        try:
            await self._obey(_REQUEST.validate_json(data))
        except Exception:  # one that cannot be carried out takes none of the others along
            log.exception("a request of another server failed: %r", data[:200])
