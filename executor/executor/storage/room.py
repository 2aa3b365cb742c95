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


class _Claim(NamedTuple):
    size: int
    names: int

    def plus(self, other: _Claim) -> _Claim:
        return _Claim(self.size + other.size, self.names + other.names)

    def less(self, other: _Claim) -> _Claim:
        return _Claim(self.size - other.size, self.names - other.names)


class Room:
    """The room in one workspace of `limit` bytes. To be used from any thread."""

    def __init__(self, limit: int, measured: Callable[[int], Size] = measure) -> None:
        self._limit = limit
        self._measured = measured
        self._lock = threading.Lock()
        self._found = Size(0, 0, False)
        self._at = float("-inf")
        self._added = _Claim(0, 0)  # what a measurement may have missed: claimed since, or not yet written when it began
        self._pending = _Claim(0, 0)  # claimed, and not yet written

    @contextmanager
    def taking(self, root: int, size: int, names: int = 0) -> Iterator[None]:
        """Within it, so many bytes and new names are written to the workspace open as `root`. Raises Full before."""
        claim = _Claim(size, names)
        if time.monotonic() - self._at > FRESH_S:
            self._look(root)
        if not self._claimed(claim):
            self._look(root)
            if not self._claimed(claim):
                raise Full(self._words(), limit=self._limit, used=self._found.used)
        try:
            yield
        finally:
            with self._lock:
                self._pending = self._pending.less(claim)

    def check(self, root: int, size: int) -> None:
        """Refuse early what will not fit, without claiming anything. Raises Full."""
        with self.taking(root, size), self._lock:
            self._added = self._added.less(_Claim(size, 0))

    def _look(self, root: int) -> None:
        """Measure. What is written meanwhile may count twice, never not at all."""
        with self._lock:
            before, pending = self._added, self._pending
        found = self._measured(root)
        with self._lock:
            self._found, self._at = found, time.monotonic()
            self._added = self._added.less(before).plus(pending)

    def _claimed(self, claim: _Claim) -> bool:
        with self._lock:
            total = self._added.plus(claim).plus(_Claim(self._found.used, self._found.entries))
            if total.size > self._limit or (claim.names and total.names > MOST_ENTRIES):
                return False
            self._added, self._pending = self._added.plus(claim), self._pending.plus(claim)
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
