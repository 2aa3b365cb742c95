"""One conversation's sandbox among all that there are, for those who look at all of them."""

from __future__ import annotations

from executor.slot import Slot
from executor.wire import KernelState, SandboxLine, Settled


def line(slot: Slot, now: float) -> SandboxLine:
    """`now` on the manager's clock."""
    usage = slot.live.sandbox.usage() if slot.live is not None else None
    return SandboxLine(
        conversation=slot.conversation,
        state=slot.state,
        idle_s=max(0.0, now - slot.used) if slot.state is KernelState.IDLE else 0.0,
        memory_used=usage.memory if usage else None,
        cpu_s=usage.cpu_s if usage else None,
        disk=usage.workspace if usage else None,
    )


def settle(slot: Slot) -> Settled | None:
    """None where there is nothing to tell."""
    if slot.live is None:
        return None
    idle = slot.state is KernelState.IDLE and not slot.turn.locked()
    cpu_s = slot.gauge.spent(0.0) if idle else None
    disk = slot.live.sandbox.usage().workspace
    return Settled(conversation=slot.conversation, cpu_s=cpu_s or 0.0, disk=disk) if cpu_s or disk is not None else None
