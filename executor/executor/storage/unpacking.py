"""A foreign zip file, unpacked into a workspace: all of it or nothing.

Its bytes are counted while they are inflated, whatever its headers say, into a folder that the sandbox cannot enter (where
this process is root); only what is whole is moved into the workspace.
"""

from __future__ import annotations

import io
import os
import secrets
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from executor.sandbox.workspace import give as give_all
from executor.storage.beneath import directory
from executor.storage.changing import clear
from executor.storage.errors import BadArchive, translated
from executor.storage.judging import Report, Wanted, judge, shown
from executor.storage.merging import merge
from executor.storage.names import STAGING, Parts
from executor.storage.place import folder, give, staging, workspace
from executor.storage.reading import CHUNK, OpenFile
from executor.storage.room import Room, Rooms
from executor.storage.writing import CREATE

MOST_ENTRIES = 10_000
MOST_DIRECTORY = 4 * 1024**2  # bytes of the zip file's own list of entries, which is read into memory
RATIO = 200  # inflated to packed; text seldom shrinks to less than a fiftieth
RATIO_FROM = 1024**2  # bytes below which the ratio of one file, or of all, does not matter
BROKEN = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError),
    *(ValueError, OverflowError, LookupError),
)


@dataclass(frozen=True, slots=True)
class Terms:
    """What an import may do. `partial`: leave refused entries out, rather than refuse everything for their sake."""

    rooms: Rooms
    longest: int  # bytes of one file
    replace: bool = False
    partial: bool = False


def unpack(path: Path, source: OpenFile, into: Parts, terms: Terms) -> Report:
    """The zip file `source` into the folder `into` of the workspace at `path`. Raises BadArchive with the report, Occupied,
    Full, and other StorageErrors: then nothing has changed."""
    with workspace(path) as root, translated(f"the folder {STAGING}"), staging(root) as staged:
        owner = os.fstat(root).st_uid
        with _box(staged) as box, folder(box, ("new",), make=True) as new, folder(box, ("old",), make=True) as old:
            with _readable():
                report = _Unpacking(source, root, new, into, terms).run()
            merge(new, root, old, terms.replace)
        if os.geteuid() == 0 and (now := os.fstat(root).st_uid) != owner:
            give_all(root, now)  # a sandbox was started meanwhile, and may have missed what lay in the box
    return report


@contextmanager
def _box(staged: int) -> Iterator[int]:
    name = f"import-{secrets.token_hex(8)}"
    os.mkdir(name, 0o700, dir_fd=staged)
    try:
        with directory(staged, (name,)) as fd:
            yield fd
    finally:
        clear(staged, name)


@contextmanager
def _readable() -> Iterator[None]:
    """Within it, all that a broken zip file can raise becomes BadArchive."""
    try:
        yield
    except BROKEN as error:
        cause = str(error) or type(error).__name__
        raise BadArchive(f"This is no zip file that can be read ({cause}). Pack it anew.") from error


class _Unpacking:
    def __init__(self, source: OpenFile, root: int, new: int, into: Parts, terms: Terms) -> None:
        self._source, self._root, self._new, self._into = source, root, new, into
        self._terms = terms
        self._room: Room = terms.rooms.of(root)
        self._report = Report()

    def run(self) -> Report:
        with zipfile.ZipFile(_Reads(self._source)) as archive:
            infos = archive.infolist()
            if len(infos) > MOST_ENTRIES:
                raise too_many()
            wanted, self._report = judge(infos, self._into, self._source.size)
            self._check_refused()
            with self._room.taking(self._root, 0, names=len(wanted)):
                for entry in wanted:
                    with translated(shown(entry.info.filename)):
                        self._add(archive, entry)
        self._check_refused()
        return self._report

    def _check_refused(self) -> None:
        if self._report.refused and not self._terms.partial:
            first = self._report.refused[0]
            raise self._bad(
                f"{self._report.refused_count} entries cannot be imported, the first is {first.name}: {first.words}. "
                "Nothing was imported. Pack it without them, or import the rest."
            )

    def _bad(self, words: str) -> BadArchive:
        return BadArchive(words, report=asdict(self._report))

    def _add(self, archive: zipfile.ZipFile, entry: Wanted) -> None:
        parts = (*self._into, *entry.parts)
        try:
            if entry.is_folder:
                with folder(self._new, parts, make=True, owner=self._root):
                    self._report.folders += 1
                return
            with folder(self._new, parts[:-1], make=True, owner=self._root) as parent:
                fd = os.open(parts[-1], CREATE, 0o600, dir_fd=parent)
        except (FileExistsError, NotADirectoryError):
            self._report.refuse(entry.info.filename, "duplicate", "a file and a folder have the same name")
            return
        try:
            self._inflate(archive, entry, fd)
            os.fchmod(fd, 0o755 if entry.executable else 0o644)
            give(self._root, fd)
        finally:
            os.close(fd)
        self._report.files += 1

    def _inflate(self, archive: zipfile.ZipFile, entry: Wanted, fd: int) -> None:
        size, name = 0, shown(entry.info.filename)
        with archive.open(entry.info) as stream:
            while data := stream.read(CHUNK):
                size += len(data)
                self._report.bytes += len(data)
                if size > self._terms.longest:
                    raise self._bad(f"{name} has more than the {self._terms.longest // 1024**2} MiB a file may have here.")
                if bomb(size, entry.info.compress_size) or bomb(self._report.bytes, self._source.size):
                    raise self._bad(f"{name} inflates to more than {RATIO} times its size, as zip bombs do.")
                with self._room.taking(self._root, len(data)):
                    _write(fd, data)


def bomb(inflated: int, packed: int) -> bool:
    """Entries share no bytes, so `packed` sums to no more than the file: a lie about it shows as an overlap."""
    return inflated > RATIO_FROM and inflated > RATIO * packed


def too_many() -> BadArchive:
    return BadArchive(f"A zip file may have at most {MOST_ENTRIES} entries here, without long remarks. Split it.")


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


class _Reads(io.RawIOBase):
    """The zip file, as zipfile wants to read it. No single read may be so long that it fills the memory: the longest is
    that of the list of entries, whose length the file states itself."""

    def __init__(self, source: OpenFile) -> None:
        self._source = source
        self._at = 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._source.size}[whence]
        if start + offset < 0:
            raise ValueError("before the beginning")
        self._at = start + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._source.size - self._at)
        size = left if size < 0 else size
        if size > MOST_DIRECTORY:
            raise too_many()
        data = self._source.read(self._at, min(size, left))
        self._at += len(data)
        return data
