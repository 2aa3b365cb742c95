"""`codeact backup FILE` and `codeact restore FILE`: the store, and the conversations' files where wanted, as one zip."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from orchestrator.adapters import backup
from orchestrator.cli.workspaces import pack, unpack
from orchestrator.errors import BackupRefused, CodeActError
from orchestrator.ground import Refused, claim
from orchestrator.settings import Settings
from orchestrator.wiring import store_url

STORE = "store.jsonl"


def save(settings: Settings, file: Path, files: Path | None) -> int:
    """The exit status: 0 when the file is whole and on the disk, 1 when it is not there (and it was said why)."""
    return _told(lambda: _save(settings, file, files))


def restore(settings: Settings, file: Path, files: Path | None, replace: bool) -> int:
    """The exit status: 0 when all of it is restored, 1 when nothing is (and it was said why)."""
    return _told(lambda: _restore(settings, file, files, replace))


def _save(settings: Settings, file: Path, files: Path | None) -> str:
    if file.exists():
        raise BackupRefused(f"{file} is there already. Choose another name, or remove it first.")
    part = file.with_name(file.name + ".part")
    try:
        with _private(part) as out, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            with archive.open(STORE, "w", force_zip64=True) as member:
                counts = asyncio.run(backup.save(store_url(settings), time.time(), member))
            packed, left_out = pack(archive, files) if files is not None else (0, 0)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    also = f", {packed} files" if files is not None else ""
    but = f" ({left_out} links, pipes and the like are not in it)" if left_out else ""
    return f"Saved {_people(counts)}{also} to {file}{but}. It holds everything: keep it as you keep the server."


def _restore(settings: Settings, file: Path, files: Path | None, replace: bool) -> str:
    with contextlib.ExitStack() as stack:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        stack.enter_context(claim(settings.data_dir))  # no server runs on it
        try:
            archive = stack.enter_context(zipfile.ZipFile(file))
            lines = stack.enter_context(archive.open(STORE))
        except (zipfile.BadZipFile, KeyError) as error:
            raise BackupRefused(f"{file} is no backup of CodeAct, or only a part of one ({error}).") from error
        if files is not None:
            unpack(archive, files, STORE, only_look=True)
        counts = asyncio.run(backup.restore(store_url(settings), lines, replace))
        unpacked = unpack(archive, files, STORE) if files is not None else 0
    return f"Restored {_people(counts)}{f', {unpacked} files' if files is not None else ''}."


@contextlib.contextmanager
def _private(path: Path) -> Iterator[IO[bytes]]:
    """A new file that nobody else reads; on the disk when the block ends."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _people(counts: dict[str, int]) -> str:
    return f"{counts['conversations']} conversations with {counts['turns']} turns of {counts.get('users', 0)} accounts"


def _told(work: Callable[[], str]) -> int:
    try:
        print(work())
    except (CodeActError, Refused) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename or 'The file'} cannot be used: {error.strerror}.", file=sys.stderr)
        return 1
    return 0
