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
DEPTH = 64  # directories deeper than this are counted as one entry; the tenant gains nothing by digging


class Size(NamedTuple):
    """`used` bytes on disk, by files and directories alike, and the number of names."""

    used: int
    entries: int


def open_workspace(path: Path) -> int:
    """A descriptor for the directory, made when missing. Raises OSError when something else lies there."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return os.open(path, DIRECTORY)


def entries(directory: int, depth: int = 0) -> Iterator[tuple[int, str, os.stat_result]]:
    """Everything below `directory`: the descriptor of the parent, the name, and what is there."""
    with os.scandir(directory) as found:
        names = [entry.name for entry in found]
    for name in names:
        with suppress(OSError):
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            yield directory, name, status
            if stat.S_ISDIR(status.st_mode) and depth < DEPTH:
                inner = os.open(name, DIRECTORY, dir_fd=directory)
                try:
                    yield from entries(inner, depth + 1)
                finally:
                    os.close(inner)


def measure(directory: int) -> Size:
    used = count = 0
    seen: set[tuple[int, int]] = set()
    for _, _, status in entries(directory):
        count += 1
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
        used += status.st_blocks * 512
    return Size(used, count)


def give(directory: int, uid: int) -> None:
    """Makes `uid` the owner of the workspace and all in it. Ownership of a link is the link's own, never its target's."""
    if os.fstat(directory).st_uid != uid:
        os.fchown(directory, uid, uid)
    for parent, name, status in entries(directory):
        if status.st_uid != uid:
            with suppress(FileNotFoundError):
                os.chown(name, uid, uid, dir_fd=parent, follow_symlinks=False)
