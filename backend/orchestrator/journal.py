"""Records what happened in one conversation: stored first where it is a fact, then told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast, get_args

from orchestrator.agent.prompt import Transcript
from orchestrator.ports import Bus, Store
from orchestrator.protocol import events as ev
from orchestrator.protocol.base import Value
from orchestrator.protocol.frames import ConversationChanged, ConversationRemoved

LIST_CHANNEL = "conversations"
"""Carries frames about the conversation list, for every connection."""

_DURABLE: tuple[type[Value], ...] = get_args(get_args(ev.DurableEvent)[0])


def channel(conversation: str) -> str:
    """The bus channel that carries a conversation's events, each as its JSON."""
    return f"conversation:{conversation}"


def encode(value: Value) -> bytes:
    """JSON as UTF-8, straight from the class's own serialiser: no union to search, no string in between."""
    return value.__pydantic_serializer__.to_json(value)


class Journal:
    """One conversation's record. `cursor` stands after the last thing told."""

    def __init__(self, store: Store, bus: Bus, conversation: str, transcript: Transcript, cursor: str) -> None:
        self._store = store
        self._bus = bus
        self._conversation = conversation
        self._channel = channel(conversation)
        self._transcript = transcript
        self.cursor = cursor

    async def record(self, events: Sequence[ev.Event]) -> None:
        """Store the facts among `events` in one transaction, then tell all of them in order."""
        facts = [cast(ev.DurableEvent, event) for event in events if isinstance(event, _DURABLE)]
        if facts:
            await self._store.append(self._conversation, facts)
            for fact in facts:
                self._transcript.add(fact)
        for event in events:
            await self.tell(event)

    async def tell(self, event: ev.Event) -> None:
        self.cursor = await self._bus.publish(self._channel, encode(event))

    async def checkpoint(self, turn: str, live: ev.Live) -> None:
        """Remember `live` as of what has been told so far."""
        await self._store.checkpoint(self._conversation, turn, self.cursor, live)


async def tell_list(bus: Bus, frame: ConversationChanged | ConversationRemoved) -> None:
    """Tell every connection that the conversation list has changed."""
    await bus.publish(LIST_CHANNEL, encode(frame))
