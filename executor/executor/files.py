"""Which files of a workspace a cell made, changed or deleted, and the removal of a whole workspace.

The directory belongs to the tenant, whose processes may rename and swap things while we look: every step goes through an
open directory's descriptor, follows no link, opens nothing but directories, and is bounded in entries, depth and time.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from executor.wire import FileChange

MAX_ENTRIES = 20_000  # looked at
MAX_CHANGES = 1_000  # told
MAX_DEPTH = 16
MAX_SECONDS = 0.2
SKIPPED = {"__pycache__", ".ipynb_checkpoints", ".cache", ".config", ".local", ".ipython", ".matplotlib", ".incoming"}
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Mark = tuple[int, int, int]  # size, mtime and ctime in ns


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Regular files by path. `complete` is false when a bound was reached: what is missing may still exist."""

    files: dict[str, Mark] = field(default_factory=dict)
    complete: bool = True


class _Enough(Exception):
    """A bound was reached."""


def snapshot(root: Path, most: int = MAX_ENTRIES, within_s: float = MAX_SECONDS) -> Snapshot:
    """What there is now, after looking at no more than so many entries. A workspace that does not exist is empty."""
    files: dict[str, Mark] = {}
    deadline = time.monotonic() + within_s
    try:
        fd = os.open(root, DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return Snapshot()
    try:
        for count, (path, mark) in enumerate(_walk(fd, "", MAX_DEPTH)):
            if count >= most or time.monotonic() > deadline:
                raise _Enough
            if mark is not None:
                files[path] = mark
    except _Enough:
        return Snapshot(files, complete=False)
    finally:
        os.close(fd)
    return Snapshot(files)


def changes(before: Snapshot, after: Snapshot) -> list[FileChange]:
    """What differs, at most MAX_CHANGES. Nothing is called deleted, or new, on the word of an incomplete look."""
    told: list[FileChange] = []
    for path, mark in after.files.items():
        old = before.files.get(path)
        if old is None and before.complete:
            told.append(FileChange(path=path, change="new", size=mark[0]))
        elif old is not None and old != mark:
            told.append(FileChange(path=path, change="changed", size=mark[0]))
    if after.complete:
        gone = before.files.keys() - after.files.keys()
        told.extend(FileChange(path=path, change="deleted", size=0) for path in gone)
    return sorted(told, key=lambda change: change.path)[:MAX_CHANGES]


def _walk(fd: int, prefix: str, depth: int) -> Iterator[tuple[str, Mark | None]]:
    """Every entry below an open directory; a mark for regular files whose name is text."""
    with contextlib.suppress(OSError), os.scandir(fd) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                info = entry.stat(follow_symlinks=False)
                path = prefix + entry.name
                if stat.S_ISREG(info.st_mode) and path.isprintable():
                    yield path, (info.st_size, info.st_mtime_ns, info.st_ctime_ns)
                    continue
                yield path, None
                if stat.S_ISDIR(info.st_mode) and entry.name not in SKIPPED and path.isprintable():
                    if depth == 0:
                        raise _Enough
                    yield from _enter(entry.name, fd, path, depth - 1)


def _enter(name: str, parent: int, path: str, depth: int) -> Iterator[tuple[str, Mark | None]]:
    fd = os.open(name, DIRECTORY, dir_fd=parent)
    try:
        yield from _walk(fd, path + "/", depth)
    finally:
        os.close(fd)


def remove(root: Path, within_s: float = float("inf")) -> None:
    """Delete a workspace whose sandbox has ended, however deep or oddly it is built: directories are moved up to the top
    one level at a time, so neither stack nor open files grow with the depth. Idempotent. A directory that its owner goes on
    changing may raise OSError, TimeoutError after `within_s` included; what is left then lies below `root`."""
    deadline = time.monotonic() + within_s
    try:
        fd = os.open(root, DIRECTORY)
    except FileNotFoundError:
        return
    try:
        os.fchmod(fd, 0o700)
        moved = 0
        while names := os.listdir(fd):  # noqa: PTH208 (of a descriptor, not of a path)
            for name in names:
                if time.monotonic() > deadline:
                    raise TimeoutError
                moved = _remove_entry(fd, name, moved)
    finally:
        os.close(fd)
    root.rmdir()


def _remove_entry(top: int, name: str, moved: int) -> int:
    """Unlink a file of the top directory, or move a directory's children up and remove it. The count of moves so far."""
    if not stat.S_ISDIR(os.stat(name, dir_fd=top, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=top)
        return moved
    open_up(top, name)
    fd = os.open(name, DIRECTORY, dir_fd=top)
    try:
        for child in os.listdir(fd):  # noqa: PTH208
            if stat.S_ISDIR(os.stat(child, dir_fd=fd, follow_symlinks=False).st_mode):
                open_up(fd, child)
                moved += 1
                os.rename(child, f".removing-{os.getpid()}-{time.monotonic_ns()}-{moved}", src_dir_fd=fd, dst_dir_fd=top)
            else:
                os.unlink(child, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=top)
    return moved


def open_up(parent: int, name: str) -> None:
    """Let the owner into a directory: through its descriptor, since chmod would follow a link that has taken its place."""
    fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        Path(f"/proc/self/fd/{fd}").chmod(0o700)
    finally:
        os.close(fd)
