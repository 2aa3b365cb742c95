"""A workspace as the host holds it: its directory, whose it is, folders made in it, and the place for what is on its way.

What is uploaded, unpacked or removed lies in one folder at the workspace's top (`names.STAGING`) until a single rename
puts it where it belongs. So it is on the same file system, no other folder ever shows half a file, and what was given up
is found without searching. The tenant can reach into that folder, too: nothing in there is believed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from executor.sandbox.workspace import open_workspace
from executor.storage.beneath import DIRECTORY, directory, opened
from executor.storage.errors import NotFound, translated
from executor.storage.names import STAGING, Parts


@contextmanager
def workspace(path: Path) -> Iterator[int]:
    """The workspace's directory, open. Raises NotFound when there is none yet."""
    try:
        with translated("the workspace"):
            fd = os.open(path, DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotFound:
        raise NotFound("This conversation has no files yet.") from None
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def workspace_made(path: Path) -> Iterator[int]:
    """The same, made when missing; a sandbox that is started later becomes its owner."""
    with translated("the workspace"):
        fd = open_workspace(path)
    try:
        yield fd
    finally:
        os.close(fd)


def give(root: int, fd: int) -> None:
    """Makes the file or folder open as `fd` belong to the owner of the workspace: sandboxes run as users of their own."""
    owner, now = os.fstat(root), os.fstat(fd)
    if os.geteuid() == 0 and (now.st_uid, now.st_gid) != (owner.st_uid, owner.st_gid):
        os.fchown(fd, owner.st_uid, owner.st_gid)


@contextmanager
def folder(root: int, parts: Parts, make: bool, mode: int = 0o755, owner: int | None = None) -> Iterator[int]:
    """A folder of the workspace, open while in use; with `make`, it and those above it are made when missing, and belong to
    the owner of the directory open as `owner`, else of `root`. Raises OSError."""
    if not make:
        with directory(root, parts) as fd:
            yield fd
        return
    fd = opened(root, (), DIRECTORY)
    try:
        for part in parts:
            inner = _entered(root if owner is None else owner, fd, part, mode)
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


def _entered(owner: int, parent: int, name: str, mode: int) -> int:
    made = False
    with suppress(FileExistsError):
        os.mkdir(name, mode, dir_fd=parent)
        made = True
    fd = opened(parent, (name,), DIRECTORY)
    if made:  # what is open now may be another folder than the one just made; it is the tenant's either way
        try:
            give(owner, fd)
        except OSError:
            os.close(fd)
            raise
    return fd


@contextmanager
def staging(root: int) -> Iterator[int]:
    """The folder for what is on its way, made when missing. Raises OSError."""
    with folder(root, (STAGING,), make=True, mode=0o700) as fd:
        yield fd
