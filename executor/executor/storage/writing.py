"""Writing one file: its bytes go to a part, a file of its own in the staging folder, which then takes the target's place.

A part may be continued later, by its id, also by another life of this process. Half a file is never seen under the
target's name, nothing is written through a link, and no folder is ever replaced.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import threading
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from executor.storage.beneath import FILE, opened
from executor.storage.errors import Conflict, NotAFile, NotFound, Occupied, TooLarge, WrongOffset, translated
from executor.storage.names import STAGING, Parts, join
from executor.storage.place import folder, give, staging, workspace, workspace_made
from executor.storage.reading import OpenFile, open_at
from executor.storage.room import Room, Rooms
from executor.storage.syscalls import rename_noreplace

IDS = re.compile(r"[0-9a-f]{32}")
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Incoming:
    """A part open for writing at its end. `close` it, from any thread: a write that is under way ends first."""

    def __init__(self, id: str, root: int, fd: int, offset: int, room: Room, longest: int) -> None:
        self.id = id
        self.offset = offset
        self._root, self._fd = root, fd
        self._room, self._longest = room, longest
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        """Raises Full or TooLarge before anything of `data` is written; other StorageErrors in the middle of it."""
        with self._lock, translated("the upload"):
            if self._fd < 0:
                raise Conflict("This upload was given up.")
            if self.offset + len(data) > self._longest:
                raise too_large(self._longest)
            rest = memoryview(data)
            with self._room.taking(self._root, len(data)):
                while rest:
                    count = os.pwrite(self._fd, rest, self.offset)
                    self.offset += count
                    rest = rest[count:]

    def expect(self, size: int) -> None:
        """Refuse early what will not fit: `size` more bytes are announced. Raises Full or TooLarge."""
        if self.offset + size > self._longest:
            raise too_large(self._longest)
        self._room.check(self._root, size)

    def close(self) -> None:
        with self._lock:
            fds, self._fd, self._root = {self._fd, self._root} - {-1}, -1, -1
        for fd in fds:
            os.close(fd)


def too_large(longest: int) -> TooLarge:
    return TooLarge(f"A file may have at most {longest // 1024**2} MiB here. Split it, or pack it.", limit=longest)


class Writer:
    """What writing needs to know: the longest file, and how much room there is."""

    def __init__(self, longest: int, rooms: Rooms) -> None:
        self._longest = longest
        self._rooms = rooms

    def begin(self, path: Path) -> Incoming:
        """A new, empty part in the workspace at `path`, made when missing. Raises StorageError."""
        id = secrets.token_hex(16)
        with workspace_made(path) as root, translated(f"the folder {STAGING}"), staging(root) as staged:
            room = self._rooms.of(root)
            with room.taking(root, 0, names=1):
                fd = os.open(id, CREATE, 0o600, dir_fd=staged)
            try:
                give(root, fd)
                return self._incoming(id, root, fd, 0, room)
            except BaseException:
                os.close(fd)
                raise

    def resume(self, path: Path, id: str, offset: int) -> Incoming:
        """A part that is there already, to go on with at exactly its end. Raises WrongOffset and other StorageErrors."""
        with workspace(path) as root:
            fd = _open_part(root, id, os.O_WRONLY)
            try:
                if (end := os.fstat(fd).st_size) != offset:
                    raise WrongOffset(end)
                return self._incoming(id, root, fd, offset, self._rooms.of(root))
            except BaseException:
                os.close(fd)
                raise

    def _incoming(self, id: str, root: int, fd: int, offset: int, room: Room) -> Incoming:
        return Incoming(id, os.dup(root), fd, offset, room, self._longest)


def check(path: Path, target: Parts, replace: bool = True, make_folders: bool = False) -> None:
    """Refuse, before its bytes come, what could not be published. Raises StorageError."""
    with workspace_made(path) as root, translated(join(target)):
        try:
            with folder(root, target[:-1], make=False) as parent:
                if replaceable(parent, target[-1]) and not replace:
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        except FileNotFoundError:
            if not make_folders:
                raise


def open_part(path: Path, id: str) -> OpenFile:
    """What has arrived, to be read. Raises StorageError."""
    with workspace(path) as root:
        return open_at(root, (STAGING, _checked(id)))


def arrived(path: Path, id: str) -> int:
    """How many bytes of a part there are. Raises NotFound."""
    with workspace(path) as root:
        fd = _open_part(root, id, os.O_RDONLY)
        try:
            return os.fstat(fd).st_size
        finally:
            os.close(fd)


def discard(path: Path, id: str) -> None:
    """Give a part up. Idempotent."""
    with suppress(NotFound, FileNotFoundError), workspace(path) as root, _parts(root) as staged:
        os.unlink(_checked(id), dir_fd=staged)


def publish(path: Path, id: str, target: Parts, replace: bool = True, make_folders: bool = False) -> bool:
    """The part becomes the file `target`, at once; whether that was there before. Only an ordinary file is ever replaced.
    Raises StorageError; then the part is still there."""
    name = join(target)
    with workspace(path) as root:
        fd = _open_part(root, id, os.O_WRONLY)
        try:
            os.fchmod(fd, 0o644)
            give(root, fd)
            with translated(name), _parts(root) as staged, folder(root, target[:-1], make_folders) as parent:
                existed = replaceable(parent, target[-1])
                if existed and replace:
                    os.rename(id, target[-1], src_dir_fd=staged, dst_dir_fd=parent)
                else:
                    rename_noreplace(id, staged, target[-1], parent)
            give(root, fd)  # again, for a sandbox that became the owner in between
        finally:
            os.close(fd)
    return existed


def replaceable(parent: int, name: str) -> bool:
    """Whether an ordinary file is there; False when nothing is. Raises Occupied for everything else."""
    try:
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(mode):
        kind = "folder" if stat.S_ISDIR(mode) else "link, pipe or device"
        raise Occupied(f"{name} is a {kind}, which no file replaces. Choose another name, or remove it first.")
    return True


def _open_part(root: int, id: str, flags: int) -> int:
    try:
        with _parts(root) as staged:
            fd = opened(staged, (_checked(id),), flags | FILE)
    except OSError as error:
        raise _gone() from error
    info = os.fstat(fd)
    if stat.S_ISREG(info.st_mode) and info.st_nlink == 1:
        return fd
    os.close(fd)
    raise NotAFile("What has arrived of this upload was replaced by something else. Begin it again.")


def _parts(root: int) -> AbstractContextManager[int]:
    return folder(root, (STAGING,), make=False)


def _checked(id: str) -> str:
    if not IDS.fullmatch(id):
        raise _gone()
    return id


def _gone() -> NotFound:
    return NotFound("There is no such upload; one that is not continued for a day is given up. Begin it again.")
