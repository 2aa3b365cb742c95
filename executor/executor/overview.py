"""One conversation's sandbox among all that there are, for those who look at all of them."""

from __future__ import annotations

from executor.slot import Slot
from executor.wire import KernelState, SandboxLine


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
