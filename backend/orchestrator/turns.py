"""Opens, continues, stops and recovers turns; one runner per open turn.

What a conversation's next turn needs (its transcript, the next seq, whether the model believes in variables) is kept for
the most recent conversations, so that a long one costs no more per turn than a short one; the store can always give it
again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from orchestrator.agent import turn as t
from orchestrator.agent.profiles import Profile
from orchestrator.agent.prompt import Transcript
from orchestrator.agent.recovery import closing_events
from orchestrator.journal import Journal, channel, encode, tell_list
from orchestrator.ports import Bus, Store
from orchestrator.protocol import events as ev
from orchestrator.protocol.events import CellClosed, TurnClosed, TurnOpened, TurnOutcome, Via
from orchestrator.protocol.frames import ConversationChanged
from orchestrator.runner import Runner, World
from orchestrator.usage import Gate

log = logging.getLogger(__name__)

KEPT_CONVERSATIONS = 64
CHECKPOINT_S = 0.5
"""How much streamed text a killed server may lose; the promise is one second. One write for all open turns."""
BESIDE_S = 0.005
"""What need not stand in the first word's way begins that long after it, when it is out of the house."""
RETRY_S = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Waits between tries to close a turn whose runner failed; the last one repeats."""

Opened = Literal["opened", "known", "busy", "unknown", "nothing"]


@dataclass(frozen=True, slots=True)
class Agent:
    """How turns are led: the action profile, the limits, and how much the model can read."""

    profile: Profile
    limits: t.Limits
    context_tokens: int


@dataclass(slots=True)
class Session:
    """A conversation of `user` between its turns. `lock` is held while a turn is being opened."""

    user: str
    transcript: Transcript
    seq: int = 0
    variables: bool = False
    last: TurnOutcome | None = None
    turns: set[str] = field(default_factory=set)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def add(self, event: ev.DurableEvent) -> None:
        self.transcript.add(event)
        self.seq = event.seq
        self.turns.add(event.turn)
        if isinstance(event, CellClosed):
            self.variables = event.variables_kept
        elif isinstance(event, TurnClosed):
            self.last = event.outcome


class Turns:
    """The open turns of this process. `owner` names this life of the process in the store."""

    def __init__(self, store: Store, bus: Bus, agent: Agent, world: World, owner: str) -> None:
        self._store = store
        self._bus = bus
        self._agent = agent
        self._world = world
        self._owner = owner
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._runners: dict[str, Runner] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._beside: set[asyncio.Task[None]] = set()
        self._checkpoints: asyncio.Task[None] | None = None
        self.gate: Gate | None = None  # where people have quotas

    # ---- commands ------------------------------------------------------------------------------------------------

    async def open(self, user: str, conversation: str, turn: str, text: str, via: Via) -> Opened:
        """Store a message and begin to answer it. The same turn id again is `known` and changes nothing. `unknown`: there
        is no such conversation of this user. Raises `OverQuota`."""
        session = await self._session(user, conversation)
        if session is None:
            return "unknown"
        async with session.lock:
            return await self._open(conversation, session, turn, text, via)

    async def resume(self, user: str, conversation: str, turn: str, via: Via) -> Opened:
        """Go on where the last turn ended early, as a new turn. `nothing`: the last turn was answered. Raises
        `OverQuota`."""
        session = await self._session(user, conversation)
        if session is None:
            return "unknown"
        async with session.lock:
            if conversation not in self._runners and session.last in (None, TurnOutcome.ANSWERED):
                return "nothing"
            return await self._open(conversation, session, turn, "", via)

    async def stop(self, conversation: str, turn: str) -> None:
        """Stop the turn if it is open. Returns when the stop has been told, not when all has ended."""
        runner = self._runners.get(conversation)
        if runner is not None and runner.turn.id == turn:
            await runner.stop("user")

    async def wait(self, conversation: str, turn: str) -> None:
        """Until the turn is closed; at once when it is not open here."""
        runner, task = self._runners.get(conversation), self._tasks.get(conversation)
        if runner is not None and task is not None and runner.turn.id == turn:
            await asyncio.wait([task])

    def running(self, conversation: str) -> bool:
        return conversation in self._runners

    async def tell(self, conversation: str, event: ev.LiveEvent) -> None:
        """Tell a live event that belongs to no turn."""
        await self._bus.publish(channel(conversation), encode(event))

    def forget(self, conversation: str) -> None:
        """The conversation was deleted."""
        self._sessions.pop(conversation, None)

    # ---- life ----------------------------------------------------------------------------------------------------

    async def start(self) -> int:
        """Close the turns that an earlier life left open; how many there were."""
        self._checkpoints = asyncio.create_task(self._checkpoint_regularly())
        closed = 0
        for left in await self._store.left_open(self._owner):
            turn = await self._store.take_over(left, self._owner)
            if turn is not None:
                events = closing_events(turn.turn, turn.events, turn.live, self._world.clock())
                await self._store.append(turn.conversation, events, self._owner)
                self._sessions.pop(turn.conversation, None)
                closed += 1
        return closed

    async def close(self) -> None:
        """Stop every turn and wait until each is closed."""
        await asyncio.gather(*(runner.stop("shutdown") for runner in self._runners.values()), return_exceptions=True)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks.values(), timeout=15)
            for task in late:
                task.cancel()
        for task in (*self._beside, *([self._checkpoints] if self._checkpoints else [])):
            task.cancel()

    async def _checkpoint_regularly(self) -> None:
        while True:
            await asyncio.sleep(CHECKPOINT_S)
            try:
                points = [point for runner in list(self._runners.values()) if (point := await runner.checkpoint())]
                if points:
                    await self._store.checkpoint(points)
            except Exception as error:  # turns go on; the next checkpoint tries again
                log.warning("open turns could not be checkpointed: %s", error)

    # ---- inside --------------------------------------------------------------------------------------------------

    async def _open(self, conversation: str, session: Session, turn: str, text: str, via: Via) -> Opened:
        """The model is asked while the message is being stored; nothing is told before it is."""
        if turn in session.turns:
            return "known"
        if conversation in self._runners:
            return "busy"
        most = await self.gate.admit(session.user, conversation) if self.gate is not None else None
        event = TurnOpened(seq=session.seq + 1, turn=turn, at=self._world.clock(), text=text, via=via)
        cursor = await self._bus.head(channel(conversation))
        session.add(event)
        journal = Journal(self._store, self._bus, conversation, session.transcript, cursor)
        self._start(conversation, session, event, journal)
        await asyncio.sleep(0)  # the request goes out first: the model reads it while we write
        result: Opened | Literal["over"] | None = None
        try:
            result = await self._store.open_turn(conversation, event, self._owner, cursor, title_of(text), most)
        finally:
            if result != "opened":
                await self._give_up(conversation)
        if result == "over":
            assert self.gate is not None
            raise await self.gate.refused(session.user)
        if result == "opened":
            await journal.begin(event)
        return result

    def _start(self, conversation: str, session: Session, event: TurnOpened, journal: Journal) -> None:
        state = t.opened(event, self._agent.limits, session.variables)
        begun = partial(self._begin_beside, session.user, conversation, journal)
        runner = Runner(conversation, state, self._agent.profile, session.transcript, journal, self._world, begun)
        self._runners[conversation] = runner
        self._tasks[conversation] = asyncio.create_task(self._drive(conversation, session, runner))

    async def _give_up(self, conversation: str) -> None:
        """The message could not be stored: abort what was begun, and read the conversation anew next time."""
        task = self._tasks.get(conversation)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        self._sessions.pop(conversation, None)

    def _begin_beside(self, user: str, conversation: str, journal: Journal) -> None:
        """Belongs to no turn: one that is soon over does not end it."""
        task = asyncio.create_task(self._begin(user, conversation, journal))
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def _begin(self, user: str, conversation: str, journal: Journal) -> None:
        await asyncio.sleep(BESIDE_S)
        await journal.settled()
        await self._world.kernel.prepare(conversation)
        await self._tell_summary(user, conversation)

    async def _drive(self, conversation: str, session: Session, runner: Runner) -> None:
        """Run the turn to its end, whatever happens, and let the list know."""
        try:
            await runner.drive()
        except Exception:
            log.exception("turn %s failed", runner.turn.id)
            await self._close_failed(session.user, conversation, runner.turn.id)
        finally:
            self._runners.pop(conversation, None)
            self._tasks.pop(conversation, None)
            self._settle(conversation, session, runner)
        await self._tell_summary(session.user, conversation)

    def _settle(self, conversation: str, session: Session, runner: Runner) -> None:
        phase = runner.turn.phase
        if isinstance(phase, t.Closed):
            session.seq, session.variables, session.last = runner.turn.seq, runner.turn.variables, phase.outcome
        else:  # the transcript may have missed something: read it anew
            self._sessions.pop(conversation, None)

    async def _close_failed(self, user: str, conversation: str, turn: str) -> None:
        """A runner broke (the store was away, or a defect): close its turn as soon as the store takes it."""
        for attempt in range(1_000_000):
            await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
            try:
                page = await self._store.page(user, conversation)
                if page is None or not page.summary.running:
                    return
                events = closing_events(turn, page.events, page.live, self._world.clock())
                await self._store.append(conversation, events)
                for event in events:
                    await self._bus.publish(channel(conversation), encode(event))
                return
            except Exception as error:
                log.warning("turn %s cannot be closed yet: %s", turn, error)

    async def _session(self, user: str, conversation: str) -> Session | None:
        """What is known of the conversation; None when the user has none of that id."""
        session = self._sessions.get(conversation)
        if session is None:
            if await self._store.summary(user, conversation) is None:
                return None
            events = await self._store.events(conversation)
            session = self._sessions.get(conversation)  # another task may have been quicker
        if session is None:
            limits = self._agent.limits
            session = Session(user, Transcript(self._agent.profile, self._agent.context_tokens, limits.step_tokens))
            for event in events:
                session.add(event)
            self._sessions[conversation] = session
        if session.user != user:
            return None
        self._sessions.move_to_end(conversation)
        self._trim()
        return session

    def _trim(self) -> None:
        for conversation in list(self._sessions):
            if len(self._sessions) <= KEPT_CONVERSATIONS:
                return
            if conversation not in self._runners and not self._sessions[conversation].lock.locked():
                del self._sessions[conversation]

    async def _tell_summary(self, user: str, conversation: str) -> None:
        summary = await self._store.summary(user, conversation)
        if summary is not None:
            await tell_list(self._bus, user, ConversationChanged(summary=summary))


def title_of(text: str) -> str | None:
    """A conversation's first title: the first line of its first message, at most 60 characters."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= 60 else line[:59].rstrip() + "…" if line else None
