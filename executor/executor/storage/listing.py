"""What is in one folder: sorted by name, a page at a time."""

from __future__ import annotations

import heapq
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from executor.sandbox.disk import MOST_ENTRIES
from executor.storage.beneath import directory
from executor.storage.errors import NotFound, translated
from executor.storage.names import STAGING, Parts, join, listed
from executor.storage.place import workspace

MOST_LISTED = 1000  # entries of one page


@dataclass(frozen=True, slots=True)
class Entry:
    """`size` in bytes, 0 for all but files; `mtime` in seconds since the epoch."""

    name: str
    kind: Literal["file", "dir", "other"]
    size: int
    mtime: float


@dataclass(frozen=True, slots=True)
class Page:
    """`skipped` counts the names of the folder that are not printable text. `cursor` asks for the next page, and is None on
    the last one. `complete` is false when the folder has more names than are looked at."""

    path: str
    entries: list[Entry]
    skipped: int
    cursor: str | None
    complete: bool


class _Names:
    """The names of an open folder that come after `cursor`; counts what it leaves out. Memory does not grow with them."""

    def __init__(self, fd: int, cursor: str, hidden: str | None) -> None:
        self._fd, self._cursor, self._hidden = fd, cursor, hidden
        self.skipped = 0
        self.complete = True

    def __iter__(self) -> Iterator[str]:
        with os.scandir(self._fd) as entries:
            for count, entry in enumerate(entries):
                if count >= MOST_ENTRIES:
                    self.complete = False
                    return
                if not listed(entry.name):
                    self.skipped += 1
                elif entry.name > self._cursor and entry.name != self._hidden:
                    yield entry.name


def page(path: Path, parts: Parts, cursor: str = "", most: int = MOST_LISTED) -> Page:
    """One page of the folder `parts`. A workspace that does not exist yet is empty. Raises StorageError."""
    try:
        with workspace(path) as root, translated(join(parts) or "workspace"), directory(root, parts) as fd:
            return _page(fd, parts, cursor, min(most, MOST_LISTED))
    except NotFound:
        if parts:
            raise
        return Page("", [], 0, None, True)


def _page(fd: int, parts: Parts, cursor: str, most: int) -> Page:
    names = _Names(fd, cursor, STAGING if not parts else None)
    first = heapq.nsmallest(most + 1, names)
    more = len(first) > most
    entries = [entry for name in first[:most] if (entry := _entry(fd, name)) is not None]
    return Page(join(parts), entries, names.skipped, first[most - 1] if more else None, names.complete)


def _entry(fd: int, name: str) -> Entry | None:
    """None when it has gone meanwhile."""
    with suppress(FileNotFoundError):
        info = os.stat(name, dir_fd=fd, follow_symlinks=False)
        mtime = info.st_mtime_ns / 1e9
        if stat.S_ISREG(info.st_mode):
            return Entry(name, "file", info.st_size, mtime)
        return Entry(name, "dir" if stat.S_ISDIR(info.st_mode) else "other", 0, mtime)
    return None
