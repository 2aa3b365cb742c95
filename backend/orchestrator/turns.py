"""Opens, continues, stops and recovers turns; one runner per open turn."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from orchestrator.agent import turn as t
from orchestrator.agent.profiles import Profile
from orchestrator.agent.prompt import Transcript
from orchestrator.closing import Closer
from orchestrator.errors import Conflict, Draining, OverQuota
from orchestrator.journal import Journal, channel, encode
from orchestrator.ports import Bus, Store
from orchestrator.protocol import events as ev
from orchestrator.protocol.events import TurnOpened, Via
from orchestrator.remote import CHANNEL, Control, Forget, Stop
from orchestrator.replica import Replica
from orchestrator.runner import Runner, World
from orchestrator.sessions import Session, Sessions
from orchestrator.usage import Gate

log = logging.getLogger(__name__)

CHECKPOINT_S = 0.5
"""How much streamed text a killed server may lose; the promise is one second. One write for all open turns."""
BESIDE_S = 0.005
"""What need not stand in the first word's way begins that long after it, when it is out of the house."""

TRIES = 5
"""Each one that fails, fails because somebody else's message went through."""

Opened = Literal["opened", "known", "busy", "unknown", "nothing"]


@dataclass(frozen=True, slots=True)
class Agent:
    """How turns are led: the action profile, the limits, and how much the model can read."""

    profile: Profile
    limits: t.Limits
    context_tokens: int

    def transcript(self) -> Transcript:
        """Of a conversation in which nothing has happened yet."""
        return Transcript(self.profile, self.context_tokens, self.limits.step_tokens)


class Turns:
    """The open turns of this process. `owner` names this life of the process in the store; `shared`: other servers use the
    store too."""

    def __init__(self, store: Store, bus: Bus, agent: Agent, world: World, owner: str, shared: bool = False) -> None:
        self._store = store
        self._bus = bus
        self._agent = agent
        self._world = world
        self._owner = owner
        self._closer = Closer(store, bus, world.clock, owner)
        self._sessions = Sessions(store, agent.transcript, self.running)
        self._runners: dict[str, Runner] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._beside: set[asyncio.Task[None]] = set()
        self._replica = Replica(self._closer, world.kernel, self._were_away) if shared else None
        self._control = Control(bus, self._obey)
        self.draining = False
        self.gate: Gate | None = None  # where people have quotas

    # ---- commands ------------------------------------------------------------------------------------------------

    async def open(self, user: str, conversation: str, turn: str, text: str, via: Via) -> Opened:
        """Store a message and begin to answer it. The same turn id again is `known` and changes nothing. `unknown`: there
        is no such conversation of this user. Raises `OverQuota`, `Draining`."""
        return await self._once_more(
            user, conversation, lambda session, _: self._open(conversation, session, turn, text, via)
        )

    async def resume(self, user: str, conversation: str, turn: str, via: Via) -> Opened:
        """Go on where the last turn ended early, as a new turn. `nothing`: the last turn was answered. Raises
        `OverQuota`, `Draining`."""

        async def attempt(session: Session, fresh: bool) -> Opened:
            if conversation not in self._runners and session.answered:
                if self._replica is not None and not fresh:
                    raise Conflict("what is kept of the conversation may be old")
                return "nothing"
            return await self._open(conversation, session, turn, "", via)

        return await self._once_more(user, conversation, attempt)

    async def stop(self, conversation: str, turn: str) -> None:
        """Stop the turn if it is open, here or at another server. Returns when the stop has been told, not when all has
        ended."""
        if not await self._stop_here(conversation, turn) and self._replica is not None:
            await self._control.ask(Stop(conversation=conversation, turn=turn))

    async def _stop_here(self, conversation: str, turn: str) -> bool:
        runner = self._runners.get(conversation)
        if runner is None or runner.turn.id != turn:
            return False
        await runner.stop("user")
        return True

    async def wait(self, conversation: str, turn: str) -> None:
        """Until the turn is closed; at once when it is not open here."""
        runner, task = self._runners.get(conversation), self._tasks.get(conversation)
        if runner is not None and task is not None and runner.turn.id == turn:
            await asyncio.wait([task])

    def running(self, conversation: str) -> bool:
        """Whether a turn is open here."""
        return conversation in self._runners

    async def busy(self, user: str, conversation: str) -> bool:
        """Whether a turn is open, here or at another server."""
        if self._replica is None or self.running(conversation):
            return self.running(conversation)
        summary = await self._store.summary(user, conversation)
        return summary is not None and summary.running

    async def tell(self, conversation: str, event: ev.LiveEvent) -> None:
        """Tell a live event that belongs to no turn."""
        await self._bus.publish(channel(conversation), encode(event))

    async def forget(self, conversation: str) -> None:
        """The conversation was deleted."""
        self._sessions.drop(conversation)
        if self._replica is not None:
            await self._control.ask(Forget(conversation=conversation))

    # ---- life ----------------------------------------------------------------------------------------------------

    async def start(self) -> int:
        """Close the turns that an earlier life left open; how many there were. Where others share the store, those of the
        dead are closed by whoever sees them first, now and later."""
        self._spawn(self._checkpoint_regularly())
        if self._replica is not None:
            await self._replica.start()
            self._spawn(self._replica.live())
            self._spawn(self._control.follow(await self._bus.head(CHANNEL)))
            return 0
        closed = 0
        for left in await self._store.left_open(self._owner):
            turn = await self._store.take_over(left, self._owner)
            if turn is not None:
                await self._closer.close(turn)
                closed += 1
        return closed

    async def drain(self, seconds: float) -> None:
        """Open no turn any more, and give those that are open so long to end by themselves."""
        self.draining = True
        if self._tasks and seconds > 0:
            await asyncio.wait(self._tasks.values(), timeout=seconds)

    async def close(self) -> None:
        """Stop every turn and wait until each is closed."""
        self.draining = True
        await asyncio.gather(*(runner.stop("shutdown") for runner in self._runners.values()), return_exceptions=True)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks.values(), timeout=15)
            for task in late:
                task.cancel()
        for task in self._beside:
            task.cancel()
        if self._replica is not None:
            await self._replica.close()

    async def _obey(self, request: Stop | Forget) -> None:
        """What another server asks for."""
        if isinstance(request, Stop):
            await self._stop_here(request.conversation, request.turn)
        else:
            self._sessions.drop(request.conversation)

    async def _were_away(self) -> None:
        """Others may have taken us for dead: what is theirs by now is not driven on."""
        for conversation, runner in list(self._runners.items()):
            if not await self._store.owns(conversation, runner.turn.id, self._owner):
                task = self._tasks.get(conversation)
                if task is not None and self._runners.get(conversation) is runner:
                    log.warning("turn %s is another server's by now", runner.turn.id)
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

    async def _once_more(
        self, user: str, conversation: str, attempt: Callable[[Session, bool], Awaitable[Opened]]
    ) -> Opened:
        """What is kept of the conversation may be old where others share the store: then once more, from the store; and
        again while others open and end turns of it in between."""
        if self.draining:
            raise Draining
        for tries in range(TRIES):
            session = await self._sessions.get(user, conversation)
            if session is None:
                return "unknown"
            try:
                async with session.lock:
                    return await attempt(session, tries > 0)
            except Conflict:
                self._sessions.drop(conversation)
                if tries == TRIES - 1:
                    raise
        raise AssertionError("unreachable")

    async def _open(self, conversation: str, session: Session, turn: str, text: str, via: Via) -> Opened:
        """The model is asked while the message is being stored; nothing is told before it is. Raises `OverQuota`."""
        if turn in session.turns:
            return "known"
        if conversation in self._runners:
            return "busy"
        if self.gate is None:
            return await self._begin_turn(conversation, session, turn, text, via, None)
        try:
            most = await self.gate.admit(session.user, conversation)
            return await self._begin_turn(conversation, session, turn, text, via, most)
        except OverQuota:
            if any(event.turn == turn for event in await self._store.events(conversation)):  # sent to another server before
                return "known"
            raise
        finally:
            self.gate.decided(conversation)

    async def _begin_turn(
        self, conversation: str, session: Session, turn: str, text: str, via: Via, most: int | None
    ) -> Opened:
        event = TurnOpened(seq=session.seq + 1, turn=turn, at=self._world.clock(), text=text, via=via)
        cursor = await self._bus.head(channel(conversation))
        session.add(event)
        journal = Journal(self._store, self._bus, conversation, session.transcript, cursor, turn, self._owner)
        self._start(conversation, session, event, journal)
        await asyncio.sleep(0)  # the request goes out first: the model reads it while we write
        result: Opened | Literal["over"] | None = None
        try:
            result = await self._store.open_turn(conversation, event, self._owner, cursor, title_of(text), most)
        except Conflict:
            raise
        except BaseException:  # nobody knows whether it was stored
            self._spawn(self._closer.close_failed(session.user, conversation, turn))
            raise
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
        self._sessions.drop(conversation)

    def _begin_beside(self, user: str, conversation: str, journal: Journal) -> None:
        """Belongs to no turn: one that is soon over does not end it."""
        self._spawn(self._begin(user, conversation, journal))

    async def _begin(self, user: str, conversation: str, journal: Journal) -> None:
        await asyncio.sleep(BESIDE_S)
        await journal.settled()
        await self._world.kernel.prepare(conversation)
        await self._closer.tell_summary(user, conversation)

    async def _drive(self, conversation: str, session: Session, runner: Runner) -> None:
        """Run the turn to its end, whatever happens, and let the list know."""
        try:
            await runner.drive()
        except Conflict as error:  # whoever has it now closes it, or goes on
            log.warning("turn %s is not driven on: %s", runner.turn.id, error)
        except Exception:
            log.exception("turn %s failed", runner.turn.id)
            await self._closer.close_failed(session.user, conversation, runner.turn.id)
        finally:
            self._runners.pop(conversation, None)
            self._tasks.pop(conversation, None)
            self._settle(conversation, session, runner)
        await self._closer.tell_summary(session.user, conversation)

    def _settle(self, conversation: str, session: Session, runner: Runner) -> None:
        phase = runner.turn.phase
        if isinstance(phase, t.Closed):
            session.settle(runner.turn.seq, runner.turn.variables, phase.outcome)
        else:  # the transcript may have missed something: read it anew
            self._sessions.drop(conversation)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)


def title_of(text: str) -> str | None:
    """A conversation's first title: the first line of its first message, at most 60 characters."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= 60 else line[:59].rstrip() + "…" if line else None
