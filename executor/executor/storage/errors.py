"""What the storage of files refuses, and why.

StorageError              a request that was not carried out; `words` name the cause and the next step
├── BadRequest      400   the request itself makes no sense
│   └── BadPath           the path is none that can lie inside a workspace
├── Refused         403   the host's file system does not allow it
├── NotFound        404
├── Conflict        409   what is there stands in the way
│   ├── NotAFile          a folder, link, pipe, socket, device, or a file with several names
│   ├── NotADirectory
│   ├── Occupied          something of that name is there already
│   ├── Changing          the sandbox changed things meanwhile
│   └── WrongOffset       an upload goes on at another place
├── TooLarge        413
├── BadArchive      422   a zip file that was refused; carries a report
├── Busy            503   too much at once; try again
└── Full            507   the workspace, or the disk below it
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class StorageError(Exception):
    """`code` is for programs and never changes; `facts` are added to the answer beside the words."""

    status = 500
    code = "io_error"

    def __init__(self, words: str, **facts: object) -> None:
        super().__init__(words)
        self.words = words
        self.facts = facts


class BadRequest(StorageError):
    status, code = 400, "bad_request"


class BadPath(BadRequest):
    code = "bad_path"


class Refused(StorageError):
    status, code = 403, "refused"


class NotFound(StorageError):
    status, code = 404, "not_found"


class Conflict(StorageError):
    status, code = 409, "conflict"


class NotAFile(Conflict):
    code = "not_a_file"


class NotADirectory(Conflict):
    code = "not_a_directory"


class Occupied(Conflict):
    code = "occupied"


class Changing(Conflict):
    code = "changing"


class WrongOffset(Conflict):
    code = "wrong_offset"

    def __init__(self, offset: int) -> None:
        super().__init__(f"{offset} bytes have arrived. Go on from there.", offset=offset)
        self.offset = offset


class TooLarge(StorageError):
    status, code = 413, "too_large"


class BadArchive(StorageError):
    status, code = 422, "bad_archive"


class Busy(StorageError):
    status, code = 503, "busy"


class Full(StorageError):
    status, code = 507, "workspace_full"


def _not_a_file(name: str) -> StorageError:
    return NotAFile(f"{name} is no ordinary file: only those are read and written, never links, folders, pipes or devices.")


def _not_a_directory(name: str) -> StorageError:
    return NotADirectory(f"{name} is no folder, or leads through a link or a file. Links are never followed.")


def _missing(name: str) -> StorageError:
    return NotFound(f"Not found in this workspace: {name}. List the folder to see what there is.")


def _refused(name: str) -> StorageError:
    return Refused(f"The file system does not allow this for {name}. Change its permissions from within the sandbox first.")


def _occupied(name: str) -> StorageError:
    return Occupied(f"{name} is there already. Choose another name, or remove it first.")


def _full(name: str) -> StorageError:
    return Full(f"The disk is full; {name} was not written. Delete what is not needed any more.")


def _busy(name: str) -> StorageError:
    return Busy(f"Too many files are open, or {name} is held by a program. Try again in a moment.")


# What a system call says, in terms of this tree. A name is only ever looked up inside a workspace.
MEANINGS: dict[int, Callable[[str], StorageError]] = {
    errno.ENOENT: _missing,
    errno.ESTALE: _missing,
    errno.ELOOP: _not_a_directory,
    errno.ENOTDIR: _not_a_directory,
    errno.EXDEV: _not_a_directory,
    errno.EISDIR: _not_a_file,
    errno.ENXIO: _not_a_file,
    errno.ENODEV: _not_a_file,
    errno.EEXIST: _occupied,
    errno.ENOTEMPTY: _occupied,
    errno.EACCES: _refused,
    errno.EPERM: _refused,
    errno.EROFS: _refused,
    errno.ETXTBSY: _busy,
    errno.EAGAIN: _busy,
    errno.EBUSY: _busy,
    errno.EMFILE: _busy,
    errno.ENFILE: _busy,
    errno.ENOMEM: _busy,
    errno.ENOSPC: _full,
    errno.EDQUOT: _full,
    errno.EFBIG: lambda name: TooLarge(f"{name} would be longer than the file system allows."),
    errno.ENAMETOOLONG: lambda name: BadPath(f"The name {name} is too long. Choose a shorter one."),
    errno.EINVAL: lambda name: Conflict(f"That cannot be done with {name}: a folder cannot go into itself."),
}


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Within it, OSError becomes a StorageError about `name`."""
    try:
        yield
    except OSError as error:
        meaning = MEANINGS.get(error.errno or 0)
        if meaning is not None:
            raise meaning(name) from error
        raise StorageError(f"Reading or writing {name} failed: {error.strerror}. Try again.") from error
