"""How short of memory a sandbox has been, and whether that was the end of something. Pure."""

from __future__ import annotations

from typing import NamedTuple

FULL = 0.8  # of the memory that a process may use: from here on a sudden end is put down to memory


class Pressure(NamedTuple):
    """Processes killed for memory, and the most bytes ever used; None where this host cannot tell. Both only grow."""

    kills: int | None = None
    peak: int | None = None

    def burst(self, before: Pressure, data: int) -> bool:
        """Memory has run out since `before`: a process was killed for it, or Python had just filled the `data` bytes that
        it may use (libraries that are refused memory abort)."""
        if self.kills is not None and self.kills > (before.kills or 0):
            return True
        return self.peak is not None and self.peak > max(before.peak or 0, FULL * data)
