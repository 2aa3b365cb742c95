"""What a conversation's next turn needs: its transcript, the next seq, whether the model believes in variables.

Kept for the most recent conversations, so that a long one costs no more per turn than a short one; the store can always
give it again. Where several servers share the store, what is kept may be old: the store then refuses (`Conflict`) what was
made of it, and it is read anew.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.agent.prompt import Transcript
from orchestrator.ports import Store
from orchestrator.protocol import events as ev
from orchestrator.protocol.events import CellClosed, TurnClosed, TurnOutcome

KEPT_CONVERSATIONS = 64


@dataclass(slots=True)
class Session:
    """A conversation of `user` between its turns. `lock` is held while a turn is being opened."""

    user: str
    transcript: Transcript
    seq: int = 0
    variables: bool = False
    open: bool = False  # its newest turn is not closed, as far as is known
    last: TurnOutcome | None = None
    turns: set[str] = field(default_factory=set)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def add(self, event: ev.DurableEvent) -> None:
        self.transcript.add(event)
        self.seq = event.seq
        self.turns.add(event.turn)
        self.open = not isinstance(event, TurnClosed)
        if isinstance(event, CellClosed):
            self.variables = event.variables_kept
        elif isinstance(event, TurnClosed):
            self.last = event.outcome

    @property
    def answered(self) -> bool:
        """There is nothing to go on with."""
        return not self.open and self.last in (None, TurnOutcome.ANSWERED)

    def settle(self, seq: int, variables: bool, outcome: TurnOutcome) -> None:
        """The turn that was opened here has ended; the transcript has been told all of it."""
        self.seq, self.variables, self.last, self.open = seq, variables, outcome, False


class Sessions:
    """`transcript` makes an empty one; `in_use` says which conversations must not be dropped."""

    def __init__(self, store: Store, transcript: Callable[[], Transcript], in_use: Callable[[str], bool]) -> None:
        self._store = store
        self._transcript = transcript
        self._in_use = in_use
        self._kept: OrderedDict[str, Session] = OrderedDict()

    async def get(self, user: str, conversation: str) -> Session | None:
        """What is known of the conversation; None when the user has none of that id."""
        session = self._kept.get(conversation)
        if session is None:
            if await self._store.summary(user, conversation) is None:
                return None
            events = await self._store.events(conversation)
            session = self._kept.get(conversation)  # another task may have been quicker
        if session is None:
            session = Session(user, self._transcript())
            for event in events:
                session.add(event)
            self._kept[conversation] = session
        if session.user != user:
            return None
        self._kept.move_to_end(conversation)
        self._trim()
        return session

    def drop(self, conversation: str) -> None:
        """It is read anew when it is next needed."""
        self._kept.pop(conversation, None)

    def _trim(self) -> None:
        for conversation in list(self._kept):
            if len(self._kept) <= KEPT_CONVERSATIONS:
                return
            if not self._in_use(conversation) and not self._kept[conversation].lock.locked():
                del self._kept[conversation]
