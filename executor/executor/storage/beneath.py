"""Opening what lies inside a directory that belongs to somebody else, who may rename and swap things meanwhile.

Nothing is opened by a path of the host. `opened` starts at a descriptor and follows no link at all: in one system call
where the kernel has openat2 (Linux 5.6), else part by part, each step from the descriptor of the one before. Both give the
same results, and the same tests run against both.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from executor.storage.names import Parts
from executor.storage.syscalls import has_openat2, openat2

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY
FILE = os.O_NONBLOCK | os.O_NOCTTY  # a pipe or a leased file must not make us wait, nor a terminal become ours

Opener = Callable[[int, Parts, int], int]


def in_one_call(root: int, parts: Parts, flags: int) -> int:
    return openat2(root, "/".join(parts) or ".", flags | os.O_NOFOLLOW)


def step_by_step(root: int, parts: Parts, flags: int) -> int:
    directory = os.open(".", os.O_PATH | os.O_CLOEXEC, dir_fd=root)
    try:
        for part in parts[:-1]:
            inner = _step(directory, part, os.O_PATH | os.O_DIRECTORY)
            os.close(directory)
            directory = inner
        return _step(directory, parts[-1] if parts else ".", flags)
    finally:
        os.close(directory)


def _step(directory: int, name: str, flags: int) -> int:
    try:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except NotADirectoryError:
        if stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None  # as openat2 says it
        raise


opener: Opener = in_one_call if has_openat2() else step_by_step


def opened(root: int, parts: Parts, flags: int) -> int:
    """A descriptor (close-on-exec) of what lies at `parts` below the directory open as `root`. Creates nothing. `parts`
    come from `names.parse`, or are names found in a directory. Raises OSError: ELOOP where a link is on the way."""
    for part in parts:
        if part in ("", ".", "..") or "/" in part or "\0" in part:
            raise ValueError("not the parts of a path")
    return opener(root, parts, flags)


@contextmanager
def directory(root: int, parts: Parts) -> Iterator[int]:
    """A folder, open while in use. Raises OSError."""
    fd = opened(root, parts, DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)
