"""How much may still be put into a workspace, shared by all that write to it through this process.

The tenant writes there, too, and the host's file system has no quota of its own: so the workspace is measured when a
write begins, what is written here is added to that, and before anything is refused it is measured again.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from weakref import WeakValueDictionary

from executor.sandbox.disk import MIB, MOST_ENTRIES
from executor.sandbox.workspace import Size, measure
from executor.storage.errors import Full

FRESH_S = 5.0  # a measurement is believed for so long, while others go on writing


class Room:
    """The room in one workspace of `limit` bytes. To be used from any thread."""

    def __init__(self, limit: int, measured: Callable[[int], Size] = measure) -> None:
        self._limit = limit
        self._measured = measured
        self._lock = threading.Lock()
        self._found = Size(0, 0, False)
        self._added = (0, 0)  # bytes and names, since the measurement began
        self._at = float("-inf")

    def look(self, root: int) -> None:
        """Measure the workspace open as `root`. What is added meanwhile may count twice, never not at all."""
        before = self._added
        found = self._measured(root)
        with self._lock:
            self._found, self._at = found, time.monotonic()
            self._added = (self._added[0] - before[0], self._added[1] - before[1])

    def take(self, root: int, size: int, names: int = 0) -> None:
        """Claim room for so many bytes and new names. Raises Full."""
        if time.monotonic() - self._at > FRESH_S:
            self.look(root)
        if not self._taken(size, names):
            self.look(root)
            if not self._taken(size, names):
                raise Full(self._words(), limit=self._limit, used=self._found.used)

    def check(self, root: int, size: int) -> None:
        """Refuse early what will not fit, without claiming anything. Raises Full."""
        self.take(root, size)
        with self._lock:
            self._added = (self._added[0] - size, self._added[1])

    def _taken(self, size: int, names: int) -> bool:
        with self._lock:
            used, count = self._found.used + self._added[0], self._found.entries + self._added[1]
            if used + size > self._limit or (names and count + names > MOST_ENTRIES):
                return False
            self._added = (self._added[0] + size, self._added[1] + names)
            return True

    def _words(self) -> str:
        used, limit = -(-self._found.used // MIB), self._limit // MIB
        return (
            f"The workspace may hold {limit} MiB in at most {MOST_ENTRIES} files, and holds {used} MiB in "
            f"{self._found.entries}. Nothing was kept of this. Delete what is not needed any more, and try again."
        )


class Rooms:
    """The room of each workspace that is being written to."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._rooms: WeakValueDictionary[tuple[int, int], Room] = WeakValueDictionary()

    def of(self, root: int) -> Room:
        """Keep it for as long as the write takes."""
        info = os.fstat(root)
        with self._lock:
            return self._rooms.setdefault((info.st_dev, info.st_ino), Room(self._limit))
