"""The kernel's memory limit, and the last metres beyond it.

A cell that fills the memory ends with MemoryError, and what it made is still there: with nothing left, not even the `del`
that would free it could run. So the limit is raised a little after such a cell, and lowered again once there is room.
"""

from __future__ import annotations

import re
import resource
from pathlib import Path
from typing import Any

RESERVE = 48 * 1024**2
SLACK = 100 * 1024**2
"""So much below the limit must be free again before the reserve is put back."""


def used() -> int:
    """Bytes that RLIMIT_DATA counts (proc(5), VmData)."""
    found = re.search(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found.group(1)) * 1024 if found else 0


class DataLimit:
    """MemoryError at `size` bytes; at most RESERVE more while a full memory is being cleared."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._open = False
        resource.setrlimit(resource.RLIMIT_DATA, (size, size + RESERVE))

    def watch(self, shell: Any) -> None:
        """Look at how cells end, through IPython's events."""
        shell.events.register("pre_run_cell", self._before)
        shell.events.register("post_run_cell", self._after)

    def _before(self, _info: Any) -> None:
        if self._open and used() < self._size - SLACK:
            self._allow(self._size)
            self._open = False

    def _after(self, result: Any) -> None:
        if isinstance(result.error_in_exec, MemoryError) and not self._open:
            self._allow(self._size + RESERVE)
            self._open = True

    def _allow(self, size: int) -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (size, self._size + RESERVE))
