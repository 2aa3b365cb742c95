"""Two system calls that Python does not offer: openat2 and renameat2."""

from __future__ import annotations

import ctypes
import errno
import os

OPENAT2 = 437  # the same on every architecture that Linux runs sandboxes on
RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH = 0x02, 0x04, 0x08
RENAME_NOREPLACE = 1

_libc = ctypes.CDLL(None, use_errno=True)


class OpenHow(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def openat2(directory: int, path: str, flags: int) -> int:
    """A descriptor of `path`, relative to `directory`, reached without any link and without leaving it. Raises OSError."""
    how = OpenHow(flags | os.O_CLOEXEC, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)
    size = ctypes.c_size_t(ctypes.sizeof(how))
    while True:
        fd = int(_libc.syscall(ctypes.c_long(OPENAT2), directory, os.fsencode(path), ctypes.byref(how), size))
        if fd >= 0:
            return fd
        if (code := ctypes.get_errno()) != errno.EINTR:
            raise OSError(code, os.strerror(code))


def has_openat2() -> bool:
    """Whether this kernel knows it, and the filter that this process may run under lets it pass."""
    try:
        os.close(openat2(-100, ".", os.O_PATH))  # AT_FDCWD
    except OSError:
        return False
    return True


def rename_noreplace(source: str, from_directory: int, target: str, to_directory: int) -> None:
    """Rename, or FileExistsError when the target is there, decided by the kernel. Where the file system (or the C library)
    cannot decide it, the target is looked for first: what appears in that instant is replaced, unless it is a directory
    with something in it. Raises OSError."""
    names = os.fsencode(source), os.fsencode(target)
    if hasattr(_libc, "renameat2"):
        if _libc.renameat2(from_directory, names[0], to_directory, names[1], RENAME_NOREPLACE) == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.EINVAL, errno.ENOSYS):
            raise OSError(code, os.strerror(code))
    try:
        os.stat(target, dir_fd=to_directory, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(source, target, src_dir_fd=from_directory, dst_dir_fd=to_directory)
        return
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
