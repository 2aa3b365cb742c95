"""Folders made, things moved and removed inside a workspace."""

from __future__ import annotations

import os
import secrets
import stat
import time
from contextlib import suppress
from pathlib import Path

from executor import files
from executor.storage.errors import StorageError, translated
from executor.storage.names import STAGING, Parts, join
from executor.storage.place import folder, give, staging, workspace, workspace_made
from executor.storage.syscalls import rename_noreplace
from executor.storage.writing import replaceable

ABANDONED_S = 24 * 3600.0
REMOVE_S = 5.0  # for one tree; what is left of it is removed by later sweeps
TRASH = "trash-"


def make_folder(path: Path, parts: Parts, make_parents: bool = False) -> bool:
    """Whether it had to be made; False when it was there. Raises StorageError."""
    with workspace_made(path) as root, translated(join(parts)), folder(root, parts[:-1], make_parents) as parent:
        try:
            os.mkdir(parts[-1], 0o755, dir_fd=parent)
        except FileExistsError:
            with folder(parent, parts[-1:], make=False):
                return False
        with folder(parent, parts[-1:], make=False) as made:
            give(root, made)
        return True


def move(path: Path, source: Parts, target: Parts, replace: bool = False, make_folders: bool = False) -> None:
    """Rename. With `replace`, an ordinary file takes the place of another; nothing else is ever replaced. A link is moved
    as such. Raises StorageError."""
    with workspace(path) as root, translated(join(source)), folder(root, source[:-1], make=False) as before:
        mode = os.stat(source[-1], dir_fd=before, follow_symlinks=False).st_mode
        with translated(join(target)), folder(root, target[:-1], make_folders) as after:
            if replace and stat.S_ISREG(mode) and replaceable(after, target[-1]):
                os.rename(source[-1], target[-1], src_dir_fd=before, dst_dir_fd=after)
            else:
                rename_noreplace(source[-1], before, target[-1], after)


def remove(path: Path, parts: Parts) -> None:
    """A file, or a folder with all in it: gone at once, even if its room takes longer to be freed. Raises StorageError."""
    with workspace(path) as root, translated(join(parts)), folder(root, parts[:-1], make=False) as parent:
        try:
            os.unlink(parts[-1], dir_fd=parent)
        except IsADirectoryError:
            trash = f"{TRASH}{secrets.token_hex(8)}"
            with staging(root) as staged:
                _move_folder(parts[-1], parent, trash, staged)
                clear(staged, trash)


def _move_folder(name: str, parent: int, new: str, staged: int) -> None:
    try:
        rename_noreplace(name, parent, new, staged)
    except PermissionError:  # without root's rights, a folder that is closed to its owner cannot change its parent
        files.open_up(parent, name)
        rename_noreplace(name, parent, new, staged)


def clear(staged: int, name: str) -> None:
    """Remove what is in the staging folder under this name, as far as it goes: its owner may be changing it."""
    with suppress(OSError):
        os.unlink(name, dir_fd=staged)
        return
    with suppress(OSError):
        files.remove(Path(f"/proc/self/fd/{staged}/{name}"), within_s=REMOVE_S)


def sweep(path: Path, older_than_s: float = ABANDONED_S) -> int:
    """Remove what was on its way in a workspace and has not been touched for so long, and what is left of removed folders;
    how many there were."""
    count = 0
    with suppress(StorageError, OSError), workspace(path) as root, folder(root, (STAGING,), make=False) as staged:
        latest = time.time() - older_than_s
        for name in os.listdir(staged):  # noqa: PTH208 (of a descriptor, not of a path)
            with suppress(FileNotFoundError):
                if name.startswith(TRASH) or os.stat(name, dir_fd=staged, follow_symlinks=False).st_mtime <= latest:
                    clear(staged, name)
                    count += 1
    return count


def sweep_all(workspaces: Path) -> int:
    """The same in every workspace below the directory that holds them."""
    if not workspaces.is_dir():
        return 0
    return sum(sweep(path) for path in sorted(workspaces.iterdir()))
