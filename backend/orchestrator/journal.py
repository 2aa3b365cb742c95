"""Records what happened in one conversation: stored first where it is a fact, then told, in order.

Storing does not hold up the turn: `record` queues a fact and returns, so that the next request to the model is under way
while the last result is being written. Before code runs, and before a turn is over, the runner waits for `settled`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import cast, get_args

from orchestrator.agent.prompt import Transcript
from orchestrator.errors import Conflict, StoreUnavailable
from orchestrator.ports import Bus, Spent, Store
from orchestrator.protocol import events as ev
from orchestrator.protocol.base import Value
from orchestrator.protocol.frames import ConversationChanged, ConversationRemoved

log = logging.getLogger(__name__)

STORE_AWAY_S = 120.0
"""So long a turn that goes on waits for a store that is away; longer than a restart of the database takes."""
AGAIN_S = 1.0
_DURABLE: tuple[type[Value], ...] = get_args(get_args(ev.DurableEvent)[0])


def list_channel(user: str) -> str:
    """The bus channel that carries frames about a user's conversation list, for every connection of theirs."""
    return f"conversations:{user}"


def channel(conversation: str) -> str:
    """The bus channel that carries a conversation's events, each as its JSON."""
    return f"conversation:{conversation}"


def encode(value: Value) -> bytes:
    """JSON as UTF-8, straight from the class's own serialiser: no union to search, no string in between."""
    return value.__pydantic_serializer__.to_json(value)


class Journal:
    """One open turn's record. `cursor` stands after the last thing told.

    Begins held: nothing is told until `begin` says that the turn itself is stored.
    """

    def __init__(
        self, store: Store, bus: Bus, conversation: str, transcript: Transcript, cursor: str, turn: str, owner: str
    ) -> None:
        """`owner`: the life of a server whose turn it has to be for anything to be stored."""
        self._store = store
        self._bus = bus
        self._conversation = conversation
        self._channel = channel(conversation)
        self._transcript = transcript
        self.cursor = cursor
        self._turn, self._owner = turn, owner
        self._queue: deque[ev.Event] = deque()
        self._begun = asyncio.Event()
        self._telling = False
        self._writer: asyncio.Task[None] | None = None
        self._spent: Spent | None = None  # and not stored yet

    async def begin(self, event: ev.TurnOpened) -> None:
        """The turn is stored: tell it, then whatever has been recorded since."""
        await self._publish(event)
        self._begun.set()
        await self._tell_on()

    async def record(self, events: Sequence[ev.Event]) -> None:
        """Take events in order. Live ones are told at once unless facts are still being stored before them. Raises what
        the store raised for earlier ones."""
        self._raise()
        for event in events:
            self._queue.append(event)
            if isinstance(event, _DURABLE):
                self._transcript.add(cast(ev.DurableEvent, event))
        if self._begun.is_set() and self._writer is None and not self._telling:
            await self._tell_on()

    def spend(self, spent: Spent) -> None:
        """What has been used since the last fact: stored with the next one."""
        if self._spent is not None:
            tokens, cpu_ms = self._spent.tokens + spent.tokens, self._spent.cpu_ms + spent.cpu_ms
            disk = self._spent.disk if spent.disk is None else spent.disk
            spent = Spent(spent.at, tokens, cpu_ms, disk)
        self._spent = spent

    async def settled(self) -> None:
        """Until everything recorded is stored and told. Raises what the store raises."""
        await self._begun.wait()
        while self._writer is not None:
            await asyncio.wait([self._writer])
            self._raise()

    async def check_ours(self) -> None:
        """Raises Conflict when another server has taken the turn over."""
        if not await self._store.owns(self._conversation, self._turn, self._owner):
            raise Conflict(f"turn {self._turn} of conversation {self._conversation} is another server's by now")

    def _raise(self) -> None:
        if self._writer is not None and self._writer.done():
            self._writer.result()
            self._writer = None

    async def _tell_on(self) -> None:
        """Tell what may be told; what needs storing first is stored by a task of its own."""
        await self._tell_live()
        if self._queue and self._writer is None:
            self._writer = asyncio.create_task(self._drain())

    async def _tell_live(self) -> None:
        """Tell what needs no storing, up to the first fact."""
        self._telling = True
        try:
            while self._queue and not isinstance(self._queue[0], _DURABLE):
                await self._publish(self._queue.popleft())
        finally:
            self._telling = False

    async def _drain(self) -> None:
        """Store and tell until nothing waits. Live events never wait for facts that come after them; all facts that wait
        go in one transaction."""
        while self._queue:
            await self._tell_live()
            await asyncio.sleep(0)  # what was just told leaves before the store takes its share of this process
            waiting = list(self._queue)
            facts = [cast(ev.DurableEvent, event) for event in waiting if isinstance(event, _DURABLE)]
            if facts:
                spent, self._spent = self._spent, None
                await self._store_facts(facts, spent)
            for _ in waiting:
                await self._publish(self._queue.popleft())
        self._writer = None

    async def _store_facts(self, facts: Sequence[ev.DurableEvent], spent: Spent | None) -> None:
        """The turn waits for a store that is away, within reason. Raises StoreUnavailable, Conflict."""
        until = asyncio.get_running_loop().time() + STORE_AWAY_S
        asked = False
        while True:
            try:
                return await self._store.append(self._conversation, facts, self._owner, spent)
            except Conflict:
                if asked and await self._are_stored(facts):  # it was the answer that got lost
                    return None
                raise
            except StoreUnavailable:
                if asyncio.get_running_loop().time() > until:
                    raise
                log.warning("facts of conversation %s wait for the store", self._conversation)
            asked = True
            await asyncio.sleep(AGAIN_S)

    async def _are_stored(self, facts: Sequence[ev.DurableEvent]) -> bool:
        stored = await self._store.events(self._conversation)
        return stored[facts[0].seq - 1 : facts[-1].seq] == list(facts)

    async def _publish(self, event: ev.Event) -> None:
        self.cursor = await self._bus.publish(self._channel, encode(event))


async def tell_list(bus: Bus, user: str, frame: ConversationChanged | ConversationRemoved) -> None:
    """Tell every connection of the user that their conversation list has changed."""
    await bus.publish(list_channel(user), encode(frame))
