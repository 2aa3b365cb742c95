"""How short of memory a sandbox has been, and whether that was the end of something; how much CPU time it has had."""

from __future__ import annotations

from typing import NamedTuple

from executor.sandbox.base import Sandbox

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


class Gauge:
    """The pressure of a sandbox whose processes may use `data` bytes. `sandbox` is the last that there was."""

    def __init__(self, data: int) -> None:
        self.sandbox: Sandbox | None = None
        self._data = data
        self._last = self._calm = Pressure()
        self._cpu_s: float | None = None  # that has been told
        self.disk: int | None = None  # bytes of the workspace when a cell ended last, as of some seconds before that

    def read(self) -> Pressure:
        """Now; what was read last, when the sandbox has taken its counters along."""
        if self.sandbox is not None:
            usage = self.sandbox.usage()
            kills = self._last.kills if usage.oom_kills is None else usage.oom_kills
            self._last = Pressure(kills, self._last.peak if usage.peak is None else usage.peak)
        return self._last

    async def refresh(self) -> None:
        """What is read next is of now, also where a sandbox has to be asked for it."""
        if self.sandbox is not None and self.sandbox.alive():
            await self.sandbox.refresh()

    def watch(self, sandbox: Sandbox) -> None:
        """Another sandbox, whose counters begin anew."""
        self.sandbox, self._last, self._calm = sandbox, Pressure(), Pressure()
        self._cpu_s = sandbox.usage().cpu_s  # what it has had so far was not for this conversation, or is told already

    def spent(self, most_s: float) -> float | None:
        """CPU seconds since the last time this was asked, what threads had between cells included. `most_s` where the
        counters are gone: code that ends its own sandbox is not cheaper for it. None where this host does not count."""
        if self.sandbox is None:
            return None
        usage, before = self.sandbox.usage(), self._cpu_s
        self.disk, now = usage.workspace, usage.cpu_s
        if before is None or now is None:
            return None if before is None else most_s
        self._cpu_s = max(now, before)
        return self._cpu_s - before

    def calm(self) -> None:
        """A cell begins with what was read last; only what comes on top of it is its own."""
        self._calm = self._last

    def burst(self, before: Pressure | None = None) -> bool:
        """Whether memory has run out since `before`, or since the last cell began."""
        return self.read().burst(before or self._calm, self._data)
