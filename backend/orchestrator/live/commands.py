"""Carries commands to the services that know what they mean. Every refusal names its cause and the next step."""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import dataclass, field
from typing import assert_never

from orchestrator.errors import Forbidden, Refusable, StoreUnavailable
from orchestrator.live.reach import Reach
from orchestrator.live.subscriptions import Subscriptions
from orchestrator.observability.counts import counts
from orchestrator.observability.turns import arrived
from orchestrator.protocol import commands as c
from orchestrator.protocol.events import KernelChanged, Via
from orchestrator.protocol.frames import Pong, Refusal, Refused
from orchestrator.turns import Opened
from orchestrator.users.principal import CHAT, Principal
from orchestrator.wiring import Parts

log = logging.getLogger(__name__)

STORE_AWAY = "The database does not answer at the moment, so this was not done. Nothing is lost; try again in a minute."

Acts = c.SendMessage | c.ContinueTurn | c.StopTurn | c.RestartKernel

_WORDS: dict[Opened, tuple[Refusal, str]] = {
    "busy": (Refusal.TURN_OPEN, "This conversation is still being answered. Wait for it, or stop it first."),
    "unknown": (Refusal.UNKNOWN_CONVERSATION, "There is no such conversation (any more). Start a new one."),
    "nothing": (Refusal.NOTHING_TO_CONTINUE, "There is nothing to continue: the last answer was complete."),
}


@dataclass(frozen=True, slots=True)
class Connection:
    """Who is at the other end, how they came, and what they watch. `ending`: we have hung up on them; `working`: on a
    command of theirs."""

    principal: Principal
    via: Via
    reach: Reach
    subscriptions: Subscriptions
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    working: asyncio.Event = field(default_factory=asyncio.Event)

    async def forget(self, conversation: str) -> None:
        """It was deleted: its id may be anybody's now."""
        self.reach.forget(conversation)
        await self.subscriptions.remove(conversation)


def refusal(reason: Refusal, words: str, conversation: str | None = None, turn: str | None = None) -> Refused:
    counts.refusals[reason] += 1
    return Refused(reason=reason, words=words, conversation=conversation, turn=turn)


async def serve_command(command: c.Command, parts: Parts, connection: Connection) -> Pong | Refused | None:
    """Carry out one command; what to answer, if anything. Never raises: a failure of ours is a refusal with an id that the
    log explains."""
    try:
        return await _serve(command, parts, connection)
    except Refusable as error:
        return refusal(error.reason, error.words, getattr(command, "conversation", None), getattr(command, "turn", None))
    except StoreUnavailable as error:
        log.warning("command %s: %s", command.type, error)
        return refusal(Refusal.FAILED, STORE_AWAY, getattr(command, "conversation", None), getattr(command, "turn", None))
    except Exception:
        mark = secrets.token_hex(4)
        log.exception("command %s failed [%s]", command.type, mark)
        words = f"Something went wrong on the server (log mark {mark}). Nothing is lost; try again."
        return refusal(Refusal.FAILED, words, getattr(command, "conversation", None), getattr(command, "turn", None))


async def _serve(command: c.Command, parts: Parts, connection: Connection) -> Pong | Refused | None:
    match command:
        case c.Ping():
            return Pong()
        case c.Unsubscribe(conversation=conversation):
            await connection.subscriptions.remove(conversation)
            return None
        case c.Subscribe(conversation=conversation, cursor=cursor):
            if not await connection.reach.has(conversation):
                return refusal(*_WORDS["unknown"], conversation)
            await connection.subscriptions.add(conversation, cursor)
            return None
        case _:
            return await _act(command, parts, connection)


async def _act(command: Acts, parts: Parts, connection: Connection) -> Refused | None:
    """What changes something. Turns are opened only in the user's own conversations; for the rest we look first."""
    user, via = connection.principal.user, connection.via
    if CHAT not in connection.principal.scopes:
        raise Forbidden("This token may only read. Make one with the scope chat, then connect again.")
    match command:
        case c.SendMessage(conversation=conversation, turn=turn, text=text):
            with arrived(via, conversation, turn):
                return _refused(await parts.turns.open(user, conversation, turn, text, via), conversation, turn)
        case c.ContinueTurn(conversation=conversation, turn=turn):
            with arrived(via, conversation, turn):
                return _refused(await parts.turns.resume(user, conversation, turn, via), conversation, turn)
        case c.StopTurn(conversation=conversation, turn=turn):
            if not await connection.reach.has(conversation):
                return refusal(*_WORDS["unknown"], conversation, turn)
            await parts.turns.stop(conversation, turn)
            return None
        case c.RestartKernel(conversation=conversation):
            if not await connection.reach.has(conversation):
                return refusal(*_WORDS["unknown"], conversation)
            return await _restart(user, conversation, parts)
        case _:
            assert_never(command)


def _refused(result: Opened, conversation: str, turn: str) -> Refused | None:
    if result not in _WORDS:
        return None
    reason, words = _WORDS[result]
    return refusal(reason, words, conversation, turn)


async def _restart(user: str, conversation: str, parts: Parts) -> Refused | None:
    if await parts.turns.busy(user, conversation):
        words = "The kernel cannot be restarted while this conversation is being answered. Stop it first."
        return refusal(Refusal.BUSY, words, conversation)
    if parts.turns.gate is not None:
        await parts.turns.gate.make_room(user, conversation)
    try:
        await parts.kernel.restart(conversation)
    finally:
        if parts.turns.gate is not None:
            parts.turns.gate.decided(conversation)
    status = await parts.kernel.status(conversation)
    await parts.turns.tell(
        conversation,
        KernelChanged(state=status.state, words="", memory_used=status.memory_used, memory_limit=status.memory_limit),
    )
    return None
