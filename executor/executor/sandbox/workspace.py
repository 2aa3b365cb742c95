"""The host's side of a workspace: whose files they are and how much room they take.

The tenant owns every name in there, so nothing is opened by path: each step goes through a directory descriptor, follows no
link, and leaves alone what is no longer what it was.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
DEPTH = 100  # directories within directories; each costs a descriptor while it is walked


class Size(NamedTuple):
    """`used` bytes on disk, by files and directories alike; the number of names; whether some lie too deep to count."""

    used: int
    entries: int
    too_deep: bool


class Entry(NamedTuple):
    """A name, in the directory open as `parent`, and what is there."""

    parent: int
    name: str
    status: os.stat_result
    depth: int

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)


def open_workspace(path: Path) -> int:
    """A descriptor for the directory, made when missing. Raises OSError when something else lies there."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return os.open(path, DIRECTORY)


def entries(directory: int, depth: int = 0) -> Iterator[Entry]:
    """Everything below `directory`, down to DEPTH. What vanishes meanwhile, or cannot be read, is left out."""
    with os.scandir(directory) as found:
        names = [entry.name for entry in found]
    for name in names:
        with suppress(OSError):
            entry = Entry(directory, name, os.stat(name, dir_fd=directory, follow_symlinks=False), depth)
            yield entry
            if entry.is_directory and depth < DEPTH:
                inner = os.open(name, DIRECTORY, dir_fd=directory)
                try:
                    yield from entries(inner, depth + 1)
                finally:
                    os.close(inner)


def measure(directory: int) -> Size:
    used = count = 0
    too_deep = False
    linked: set[int] = set()  # inodes with several names count once
    for entry in entries(directory):
        count += 1
        too_deep |= entry.is_directory and entry.depth == DEPTH
        status = entry.status
        if status.st_nlink > 1 and not entry.is_directory:
            if status.st_ino in linked:
                continue
            linked.add(status.st_ino)
        used += status.st_blocks * 512
    return Size(used, count, too_deep)


def give(directory: int, uid: int) -> None:
    """Makes `uid` the owner of the workspace and all in it. Ownership of a link is the link's own, never its target's."""
    if os.fstat(directory).st_uid != uid:
        os.fchown(directory, uid, uid)
    for entry in entries(directory):
        if entry.status.st_uid != uid:
            with suppress(FileNotFoundError):
                os.chown(entry.name, uid, uid, dir_fd=entry.parent, follow_symlinks=False)
