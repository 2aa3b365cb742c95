"""Conversations' files into a backup and out of it again. What is in there was made by code that nobody has read: no link
is followed, and nothing is written outside a new directory."""

from __future__ import annotations

import os
import re
import shutil
import stat
import zipfile
from pathlib import Path

from orchestrator.errors import BackupRefused

FOLDER = "workspaces"
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def pack(archive: zipfile.ZipFile, workspaces: Path) -> tuple[int, int]:
    """All ordinary files of all conversations; how many, and how many other things were left out."""
    packed = left_out = 0
    if not workspaces.is_dir():
        raise BackupRefused(f"There are no conversations' files in {workspaces}. Name their directory: --files DIRECTORY.")
    for folder, _, names, descriptor in os.fwalk(workspaces, follow_symlinks=False):
        parts = Path(folder).relative_to(workspaces).parts
        for name in names:
            if not parts or not NAME.fullmatch(parts[0]) or not _pack(archive, descriptor, (*parts, name)):
                left_out += 1
            else:
                packed += 1
    return packed, left_out


def _pack(archive: zipfile.ZipFile, folder: int, parts: tuple[str, ...]) -> bool:
    try:
        file = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        path = "/".join((FOLDER, *parts))
        path.encode()
    except (OSError, UnicodeEncodeError):
        return False
    with os.fdopen(file, "rb") as content:
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode):
            return False
        entry = zipfile.ZipInfo(path)
        entry.external_attr = (about.st_mode & 0o777) << 16
        entry.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(entry, "w", force_zip64=True) as member:
            shutil.copyfileobj(content, member)
    return True


def unpack(archive: zipfile.ZipFile, workspaces: Path, but: str, only_look: bool = False) -> int:
    """How many files. `only_look`: raises what it would raise, and writes nothing. Raises BackupRefused for names that lead
    elsewhere, and for conversations that have files already."""
    entries = [entry for entry in archive.infolist() if entry.filename != but]
    for entry in entries:
        _checked(entry.filename)
    for conversation in {entry.filename.split("/")[1] for entry in entries}:
        if only_look and (workspaces / conversation).exists():
            raise BackupRefused(
                f"{workspaces / conversation} is there already. Restore the files elsewhere: --files DIRECTORY."
            )
    if not only_look:
        for entry in entries:
            _unpack(archive, entry, workspaces.joinpath(*entry.filename.split("/")[1:]))
    return len(entries)


def _checked(name: str) -> None:
    folder, *parts = name.split("/")
    whole = folder == FOLDER and len(parts) > 1 and NAME.fullmatch(parts[0])
    if not whole or any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise BackupRefused(f"This is no backup of CodeAct: it holds a file called {name[:200]!r}. Nothing was changed.")


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = (entry.external_attr >> 16) & 0o777 or 0o600
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(file, "wb") as out, archive.open(entry) as member:
        shutil.copyfileobj(member, out)
