"""Stopping a cell by ever harder means, and saying how hard it had to be."""

from __future__ import annotations

import asyncio
from typing import Any

from executor.cell import Cell
from executor.channel import Channel
from executor.history import NOT_STOPPED
from executor.lifecycle import Reason
from executor.slot import Slot
from executor.wire import Rung

BEGIN_S = 0.5  # a signal that arrives before the code runs is ignored by the kernel: wait that long for it to begin
PATIENCE = ((Rung.INTERRUPT, 2.0), (Rung.INTERRUPT_AGAIN, 3.0))  # and the seconds after each
RESTART_S = 3.0


async def stop(slot: Slot, channel: Channel, cell: Cell) -> Rung:
    """Climb until the cell has ended, at most 10 s; the rung that it took. From RESTART on the variables had to go."""
    await _within(BEGIN_S, cell.ended, cell.begun)
    reached = Rung.NONE
    for rung, patience in PATIENCE:
        if cell.ended.done():
            return reached
        reached = rung
        interrupting = asyncio.ensure_future(channel.interrupt())
        await _within(patience, cell.ended)
        interrupting.cancel()
    if cell.ended.done():
        return reached
    slot.history.cause = NOT_STOPPED
    # A cell that has not begun may still lie in the kernel's queue, where a restart would let it run.
    if cell.begun.done() and await channel.restart(RESTART_S):
        return Rung.RESTART
    slot.drop(Reason.KILLED_BY_USER)
    channel.give_up()
    return Rung.KILL


async def _within(seconds: float, *futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
