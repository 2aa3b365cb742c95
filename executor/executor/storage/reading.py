"""Reading one file: its bytes as of the moment it was opened."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

from executor.storage.beneath import FILE, opened
from executor.storage.errors import NotAFile, NotFound, translated
from executor.storage.names import Parts, join
from executor.storage.place import workspace

CHUNK = 256 * 1024


class OpenFile:
    """An ordinary file with one name, open for reading. `close` it: also while another thread reads, which then ends first,
    so that no descriptor is ever read that has become another file's."""

    def __init__(self, fd: int, info: os.stat_result) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        self.size, self.mtime_ns, self._inode = info.st_size, info.st_mtime_ns, info.st_ino

    @property
    def etag(self) -> str:
        """Changes whenever size, time of change or the file itself does."""
        return f'"{self.size:x}-{self.mtime_ns:x}-{self._inode:x}"'

    def read(self, at: int, count: int) -> bytes:
        """At most `count` bytes; none when the file has become shorter than `at`, or is closed. Raises OSError."""
        with self._lock:
            return os.pread(self._fd, count, at) if self._fd >= 0 else b""

    def close(self) -> None:
        with self._lock:
            fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def open_file(path: Path, parts: Parts) -> OpenFile:
    """The file `parts` of the workspace at `path`. Raises StorageError."""
    with workspace(path) as root:
        return open_at(root, parts)


def open_at(root: int, parts: Parts) -> OpenFile:
    """The file `parts` below an open directory. Raises StorageError."""
    name = join(parts)
    with translated(name):
        fd = opened(root, parts, os.O_RDONLY | FILE)
    try:
        info = os.fstat(fd)
        _check(info, name)
    except BaseException:
        os.close(fd)
        raise
    return OpenFile(fd, info)


def _check(info: os.stat_result, name: str) -> None:
    if not stat.S_ISREG(info.st_mode):
        raise NotAFile(f"{name} is no ordinary file: only those are read, never folders, links, pipes or devices.")
    if info.st_nlink == 0:
        raise NotFound(f"{name} was deleted at this moment.")
    if info.st_nlink > 1:
        raise NotAFile(f"{name} has several names (hard links). Copy it within the sandbox and read the copy.")
