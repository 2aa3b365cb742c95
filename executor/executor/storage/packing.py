"""Files and folders of a workspace as one zip file, made while it is sent: nothing is kept on disk, little in memory."""

from __future__ import annotations

import os
import stat
import time
import zipfile
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from executor.sandbox.workspace import entries
from executor.storage.beneath import directory
from executor.storage.errors import NotAFile, StorageError, TooLarge, translated
from executor.storage.names import STAGING, Parts, join, listed
from executor.storage.place import workspace
from executor.storage.reading import CHUNK, open_at

MOST_FILES = 10_000
FAST = 1  # compression level: the reader waits
EARLIEST, LATEST = (1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58)  # that the format can write


@dataclass(frozen=True, slots=True)
class Contents:
    """What there is to pack. `left_out` counts links, pipes, devices, files with several names, and names that are not
    printable text; size in bytes."""

    files: int
    size: int
    left_out: int


class Grown(Exception):
    """More came in while packing than may be packed. The zip file that was begun cannot be ended."""


class _Found(NamedTuple):
    """Something below a given path. It is the name `parts[-1]` in the folder open as `parent`, while it is looked at."""

    parts: Parts
    parent: int
    status: os.stat_result

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.status.st_mode) and self.status.st_nlink == 1

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def fits(self) -> bool:
        return all(listed(part) for part in self.parts) and (self.is_file or self.is_folder)


def survey(path: Path, paths: Iterable[Parts], most_bytes: int) -> Contents:
    """Look before packing, while it can still be refused. Raises TooLarge, NotFound, NotAFile."""
    count = size = left_out = 0
    with workspace(path) as root:
        for found in _walk(root, outermost(paths)):
            if not found.fits:
                left_out += 1
                continue
            count, size = count + 1, size + (found.status.st_size if found.is_file else 0)
            if count > MOST_FILES or size > most_bytes:
                raise TooLarge(
                    f"At most {MOST_FILES} files and {most_bytes // 1024**2} MiB are packed at once. Choose fewer.",
                    files=MOST_FILES,
                    bytes=most_bytes,
                )
    return Contents(count, size, left_out)


def packed(path: Path, paths: Iterable[Parts], most_bytes: int) -> Generator[bytes, None, None]:
    """The zip file, in chunks of some 256 KiB. What vanishes from a folder meanwhile is left out. Closing it early leaves
    nothing open. Raises Grown, and StorageError for a path of `paths` that has gone."""
    outlet, budget = _Outlet(), most_bytes
    with (
        workspace(path) as root,
        zipfile.ZipFile(outlet, "w") as made,
        closing(_pieces(root, outermost(paths), made)) as pieces,
    ):
        for length in pieces:
            budget -= length
            if budget < 0:
                raise Grown
            if outlet.size >= CHUNK:
                yield outlet.taken()
    yield outlet.taken()


def _pieces(root: int, paths: Iterable[Parts], made: zipfile.ZipFile) -> Generator[int, None, None]:
    """Writes one thing after another; yields after each piece, and says how many bytes of files it was."""
    count = 0
    with closing(_walk(root, paths)) as walk:
        for found in walk:
            if found.fits:
                count += 1
                if count > MOST_FILES:
                    raise Grown
                yield from _add(made, found)


def outermost(paths: Iterable[Parts]) -> list[Parts]:
    """The paths without those that lie below others of them, and each once."""
    chosen: list[Parts] = []
    for parts in sorted(set(paths)):  # a folder comes before all that is in it
        if not chosen or parts[: len(chosen[-1])] != chosen[-1]:
            chosen.append(parts)
    return chosen


def _walk(root: int, paths: Iterable[Parts]) -> Generator[_Found, None, None]:
    for parts in paths:
        with translated(join(parts) or "the workspace"), _looked_up(root, parts) as found:
            if found is not None:
                yield found
            if found is None or found.is_folder:
                with directory(root, parts) as fd:
                    yield from _below(fd, parts)


@contextmanager
def _looked_up(root: int, parts: Parts) -> Iterator[_Found | None]:
    """What a given path names; None for the workspace itself."""
    if not parts:
        yield None
        return
    with directory(root, parts[:-1]) as parent:
        found = _Found(parts, parent, os.stat(parts[-1], dir_fd=parent, follow_symlinks=False))
        if not found.fits:
            raise NotAFile(f"{join(parts)} is a link, pipe or device, or has several names: that is not packed.")
        yield found


def _below(fd: int, parts: Parts) -> Iterator[_Found]:
    """Everything in an open folder, folders before what is in them."""
    names: Parts = ()
    for entry in entries(fd):
        names = (*names[: entry.depth], entry.name)
        if not parts and names[0] == STAGING:
            continue
        yield _Found((*parts, *names), entry.parent, entry.status)


def _add(made: zipfile.ZipFile, found: _Found) -> Iterator[int]:
    """Write one file or folder; how many bytes, piece by piece. One that cannot be opened any more is left out."""
    if found.is_folder:
        made.writestr(_heading(found, "/", 0o40755), b"")
        yield 0
        return
    with suppress(StorageError):
        file = open_at(found.parent, found.parts[-1:])
        try:
            heading = _heading(found, "", 0o100755 if found.status.st_mode & 0o100 else 0o100644)
            heading.file_size = file.size
            with made.open(heading, "w") as sink:
                at = 0
                while at < file.size and (data := file.read(at, min(CHUNK, file.size - at))):
                    sink.write(data)
                    at += len(data)
                    yield len(data)
        finally:
            file.close()


def _heading(found: _Found, end: str, mode: int) -> zipfile.ZipInfo:
    when = time.gmtime(max(0, min(found.status.st_mtime, 2**33)))[:6]
    heading = zipfile.ZipInfo(join(found.parts) + end, max(EARLIEST, min(LATEST, when)))
    heading.create_system = 3  # Unix, whose modes these are
    heading.external_attr = mode << 16
    heading.compress_type = zipfile.ZIP_STORED if end else zipfile.ZIP_DEFLATED
    heading._compresslevel = FAST  # type: ignore[attr-defined]
    return heading


class _Outlet:
    """What zipfile writes to: a stream without a way back."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.size = 0

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        """Nothing is kept back."""

    def close(self) -> None:
        """Nothing is open."""

    def taken(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces, self.size = [], 0
        return data
