"""Closes turns that nobody drives any more, from what the store knows of them, and tells whoever watches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.agent.recovery import closing_events
from orchestrator.journal import channel, encode, tell_list
from orchestrator.observability.counts import counts
from orchestrator.ports import Bus, OpenTurn, Store
from orchestrator.protocol.frames import ConversationChanged

log = logging.getLogger(__name__)

RETRY_S = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Waits between tries to close a turn whose runner failed; the last one repeats."""


@dataclass(frozen=True, slots=True)
class Closer:
    """`owner`: this life of the server; it closes only what is its own. `clock` gives Unix seconds."""

    store: Store
    bus: Bus
    clock: Callable[[], float]
    owner: str

    async def close(self, turn: OpenTurn, variables_kept: bool = False) -> None:
        """Raises what the store raises, `Conflict` above all."""
        events = closing_events(turn.turn, turn.events, turn.live, self.clock(), variables_kept)
        await self.store.append(turn.conversation, events, self.owner)
        counts.recovered += 1
        for event in events:
            await self.bus.publish(channel(turn.conversation), encode(event))
        user = await self.store.user_of(turn.conversation)
        if user is not None:
            await self.tell_summary(user, turn.conversation)

    async def close_failed(self, user: str, conversation: str, turn: str) -> None:
        """A runner broke (the store was away, or a defect), or nobody knows whether its turn was stored at all: close it,
        if it is open and ours, as soon as the store takes it."""
        for attempt in range(1_000_000):
            await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
            try:
                if await self.store.owns(conversation, turn, self.owner):
                    page = await self.store.page(user, conversation)
                    if page is not None:
                        await self.close(OpenTurn(conversation, turn, page.events, page.live))
                return
            except Exception as error:
                log.warning("turn %s cannot be closed yet: %s", turn, error)

    async def tell_summary(self, user: str, conversation: str) -> None:
        summary = await self.store.summary(user, conversation)
        if summary is not None:
            await tell_list(self.bus, user, ConversationChanged(summary=summary))
