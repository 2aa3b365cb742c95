"""Taking up what an earlier life of the executor left, and then looking, now and again, whether what is and what is known
agree."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple

from executor import words
from executor.channel import Channel
from executor.history import NOT_STOPPED
from executor.ledger import Ledger
from executor.lifecycle import LEASED, Reason, State, Step
from executor.live import Live
from executor.sandbox.base import Sandbox, SandboxUnavailable
from executor.slot import Listener, Slot, Source
from executor.stopping import PATIENCE, RESTART_S
from executor.wire import Rung

log = logging.getLogger(__name__)

ANSWER_S = 5.0  # for an idle kernel to answer whoever comes back to it
REVIVE_S = 10.0
ORPHAN_S = 60.0  # that a sandbox may be nobody's, for it may be on its way to somebody


def adopt(sandbox: Sandbox, slot: Slot, ledger: Ledger, clock: Callable[[], float], obtain: Source) -> None:
    """Give a conversation its sandbox back. Returns at once; whoever needs the kernel waits until it answers."""
    life = ledger.wish(sandbox.id, slot.conversation, slot.tenant)
    life.step(Step.ADOPT)
    slot.profile = sandbox.spec.profile
    ledger.counts.starts["adopted"] += 1
    ledger.note("adopt", {"conversation": slot.conversation, "sandbox": sandbox.id})
    live = Live(sandbox, life, clock)
    ledger.lives[sandbox.id] = live
    slot.adopt(life, lambda slot, announce: _taken_up(live, slot, announce, obtain))


async def _taken_up(live: Live, slot: Slot, announce: Listener, obtain: Source) -> Live:
    """The sandbox with its kernel; another one, when that cannot be had. Raises SandboxUnavailable."""
    announce("reconnecting to the sandbox")
    history, held = slot.history, slot.history.expected
    history.holds_variables = held
    try:
        rung, live.same = await resume(live.channel, held)
    except (SandboxUnavailable, TimeoutError):
        await live.end(Reason.GATEWAY_DIED)
        history.lose(Reason.GATEWAY_DIED)
        return await obtain(slot, announce)
    except BaseException:
        await live.end(Reason.RELEASED)
        raise
    slot.note = words.resumed(rung)
    if not live.same:
        history.lose(NOT_STOPPED if rung is Rung.RESTART else "kernel_died")
    live.channel.fresh = not (held and live.same)
    return live


class Resumed(NamedTuple):
    """How hard it was to stop the cell that had lost its reader (NONE where none ran), and whether the kernel is the one
    that held the conversation's variables."""

    rung: Rung
    same: bool


async def resume(channel: Channel, held: bool) -> Resumed:
    """Open the channel to a kernel that has lived on; `held`: it held variables. Raises SandboxUnavailable,
    TimeoutError."""
    rung = await _reached(channel)
    if rung is Rung.RESTART:
        return Resumed(rung, False)
    count = (await channel.quietly("", ANSWER_S)).get("execution_count") if held else None
    return Resumed(rung, count != 0)  # one that has run nothing has taken the place of another while nobody looked


async def _reached(channel: Channel) -> Rung:
    async with asyncio.timeout(ANSWER_S):
        await channel.connect()
    if await _answers(channel, ANSWER_S):
        return Rung.NONE
    for rung, patience in PATIENCE:
        await channel.interrupt()
        if await _answers(channel, patience):
            return rung
    if not await channel.restart(RESTART_S):
        raise SandboxUnavailable("The sandbox's kernel gateway does not react.")
    async with asyncio.timeout(REVIVE_S):
        await channel.answering()
    return Rung.RESTART


async def _answers(channel: Channel, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await channel.answering()
    except TimeoutError:
        return False
    return True


class Reconciliation:
    """Sandboxes that nobody holds are ended after a while; those that have ended unnoticed are given up. Both are mistakes
    of this program, which should not cost a machine its memory."""

    def __init__(self, ledger: Ledger, slots: dict[str, Slot], clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._slots = slots
        self._clock = clock
        self._orphaned: dict[str, float] = {}  # sandboxes that are nobody's, since when

    async def look(self) -> None:
        held = {slot.live for slot in self._slots.values()}
        for live in list(self._ledger.lives.values()):
            if live in held and not live.sandbox.alive():
                live.channel.give_up()
        orphans = {live.life.id: live for live in self._ledger.lives.values() if live not in held and self._is_done(live)}
        now = self._clock()
        self._orphaned = {id: self._orphaned.get(id, now) for id in orphans}
        for id, since in list(self._orphaned.items()):
            if now - since >= ORPHAN_S:
                log.error("the sandbox %s belonged to nobody and is ended", id)
                await orphans[id].end(Reason.RELEASED)

    def _is_done(self, live: Live) -> bool:
        """It has been somebody's, or ended by itself; nobody is about to take it."""
        return live.life.state in (*LEASED, State.LOST)
