"""A warm sandbox's directory becomes a conversation's workspace. Blocks; needs that no code runs in either.

The sandbox's mount holds on to the directory itself, so it may be renamed. Where the conversation has files, these are
moved into it first, name by name through descriptors, following no link. An empty file named `<sandbox>.<conversation>`
beside the directory says what was begun; a later life of the executor finishes it.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import stat
from pathlib import Path

from executor import files

log = logging.getLogger(__name__)

WARM = ".warm"  # no conversation's id
TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR, errno.ENOTDIR)


def hand_over(workspaces: Path, sandbox: str, conversation: str) -> Path:
    """The workspace, which is now the directory that was `.warm/<sandbox>`. Raises OSError, with no file lost."""
    source, workspace = workspaces / WARM / sandbox, workspaces / conversation
    try:
        source.rename(workspace)  # also in the place of an empty directory
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        intent = workspaces / WARM / f"{sandbox}.{conversation}"
        intent.touch(mode=0o600)
        _join(source, workspace)
        intent.unlink()
    return workspace


def settle(workspaces: Path) -> None:
    """Finish what an earlier life began, and clear away its warm directories. Call it when their sandboxes are gone."""
    root = workspaces / WARM
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    for sandbox in {path.name.partition(".")[0] for path in root.iterdir()}:
        try:
            discard(workspaces, sandbox)
        except OSError as error:
            log.warning("the warm directory %s was left as it is: %s", sandbox, error)


def discard(workspaces: Path, sandbox: str) -> None:
    """The directory of a warm sandbox that has ended. Where a conversation's files were being moved into it, they become
    the conversation's workspace. Raises OSError, with no file lost."""
    directory = workspaces / WARM / sandbox
    for intent in list((workspaces / WARM).glob(f"{sandbox}.*")):
        if directory.is_dir():
            _join(directory, workspaces / intent.name.partition(".")[2])
        intent.unlink()
    files.remove(directory)


def _join(source: Path, workspace: Path) -> None:
    """All that is in `workspace` moves into `source`, which then takes its name."""
    into = os.open(source, files.DIRECTORY)
    try:
        out = os.open(workspace, files.DIRECTORY)
    except FileNotFoundError:
        os.close(into)
        source.rename(workspace)
        return
    try:
        while not _moved(source, workspace, out, into):
            pass
    finally:
        os.close(out)
        os.close(into)


def _moved(source: Path, workspace: Path, out: int, into: int) -> bool:
    """False when a file was uploaded between the last move and the change of names: then there is more to move."""
    names = os.listdir(out)
    for name in names:
        _move(name, out, into)
    try:
        source.rename(workspace)
    except OSError as error:
        if names and error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            return False
        raise
    return True


def _move(name: str, out: int, into: int) -> None:
    """What the conversation has wins over what the sandbox's start may have put there."""
    try:
        os.rename(name, name, src_dir_fd=out, dst_dir_fd=into)
    except OSError as error:
        if error.errno in TAKEN:
            _clear(name, into)
            os.rename(name, name, src_dir_fd=out, dst_dir_fd=into)
        elif error.errno in (errno.EACCES, errno.EPERM):
            _move_locked(name, out, into)
        else:
            raise


def _clear(name: str, directory: int) -> None:
    """Only the sandbox's own start can have made it; no code of a tenant ever ran there."""
    if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
        shutil.rmtree(name, dir_fd=directory)
    else:
        os.unlink(name, dir_fd=directory)


def _move_locked(name: str, out: int, into: int) -> None:
    """A directory that may not be written to cannot be moved either, unless by root. It is as before afterwards."""
    status = os.stat(name, dir_fd=out, follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
    os.chmod(name, 0o700, dir_fd=out)
    os.rename(name, name, src_dir_fd=out, dst_dir_fd=into)
    os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=into)
