"""How much may still be put into a workspace, shared by all that write to it through this process.

The tenant writes there, too, and the host's file system has no quota of its own: so the workspace is measured when a
write begins, what is written here is added to that, and before anything is refused it is measured again.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple
from weakref import WeakValueDictionary

from executor.sandbox.disk import MIB, MOST_ENTRIES
from executor.sandbox.workspace import Size, measure
from executor.storage.errors import Full

FRESH_S = 5.0  # a measurement is believed for so long, while others go on writing


class _Sum(NamedTuple):
    """Bytes and names."""

    size: int
    names: int

    def plus(self, other: _Sum) -> _Sum:
        return _Sum(self.size + other.size, self.names + other.names)

    def less(self, other: _Sum) -> _Sum:
        return _Sum(self.size - other.size, self.names - other.names)


class Room:
    """The room in one workspace of `limit` bytes. To be used from any thread."""

    def __init__(self, limit: int, measured: Callable[[int], Size] = measure) -> None:
        self._limit = limit
        self._measured = measured
        self._lock = threading.Lock()
        self._claimed = self._written = _Sum(0, 0)  # both only grow; what is claimed will be written in a moment
        self._found = Size(0, 0, False)
        self._seen = _Sum(0, 0)  # of what was written, so much the measurement has found for certain
        self._at = float("-inf")

    @contextmanager
    def taking(self, root: int, size: int, names: int = 0) -> Iterator[None]:
        """Within it, so many bytes and new names are written to the workspace open as `root`. Raises Full before."""
        claim = _Sum(size, names)
        self._ensure(root, claim, claim)
        try:
            yield
        finally:
            with self._lock:
                self._written = self._written.plus(claim)

    def check(self, root: int, size: int) -> None:
        """Refuse early what will not fit, without claiming anything. Raises Full."""
        self._ensure(root, _Sum(size, 0), _Sum(0, 0))

    def _ensure(self, root: int, wanted: _Sum, claim: _Sum) -> None:
        if time.monotonic() - self._at > FRESH_S:
            self._look(root)
        if not self._fits(wanted, claim):
            self._look(root)
            if not self._fits(wanted, claim):
                raise Full(self._words(), limit=self._limit, used=self._found.used)

    def _look(self, root: int) -> None:
        """Measure. What is written meanwhile may count twice, never not at all."""
        seen = self._written
        found = self._measured(root)
        with self._lock:  # several may look at once: the last one's findings hold, with what they surely contain
            self._found, self._seen, self._at = found, seen, time.monotonic()

    def _fits(self, wanted: _Sum, claim: _Sum) -> bool:
        with self._lock:
            total = self._claimed.less(self._seen).plus(wanted).plus(_Sum(self._found.used, self._found.entries))
            if total.size > self._limit or (wanted.names and total.names > MOST_ENTRIES):
                return False
            self._claimed = self._claimed.plus(claim)
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
