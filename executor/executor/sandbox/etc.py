"""The sandbox's /etc: users, hosts and what libraries look up, made from nothing but the host's library cache, time zone
and fonts. Made once per life of the executor and bound read-only into every sandbox."""

from __future__ import annotations

import filecmp
import secrets
import shutil
from pathlib import Path

from executor.sandbox.argv import USER, WORKSPACE

COPIED = ("ld.so.cache", "localtime", "fonts", "alternatives", "mime.types")
FILES = {
    "passwd": f"sandbox:x:{USER}:{USER}::{WORKSPACE}:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
    "group": f"sandbox:x:{USER}:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "host.conf": "multi on\n",
}


def renew(where: Path) -> None:
    """Brings the directory `where` up to date. Sandboxes of an earlier life go on with what they have: it is not changed,
    but, when it differs, put aside as `<where>.<something>`."""
    new = where.with_name(f"{where.name}.new")
    build(new)
    if where.is_dir():
        if same(where, new):
            shutil.rmtree(new)
            return
        where.rename(where.with_name(f"{where.name}.{secrets.token_hex(4)}"))
    new.rename(where)


def same(one: Path, other: Path) -> bool:
    """Whether two directories hold the same names with the same contents."""
    names = [sorted(path.relative_to(top) for path in top.rglob("*")) for top in (one, other)]
    return names[0] == names[1] and all(alike(one / name, other / name) for name in names[0])


def alike(one: Path, other: Path) -> bool:
    if one.is_symlink() or other.is_symlink():
        return one.is_symlink() and other.is_symlink() and one.readlink() == other.readlink()
    return one.is_dir() == other.is_dir() and (one.is_dir() or filecmp.cmp(one, other, shallow=False))


def build(where: Path, host: Path = Path("/etc")) -> None:
    """Fills the directory `where`, replacing what an earlier life left there."""
    shutil.rmtree(where, ignore_errors=True)
    where.mkdir(mode=0o755)
    for name, text in FILES.items():
        (where / name).write_text(text)
    for name in COPIED:
        source = host / name
        if source.is_dir():
            shutil.copytree(source, where / name, symlinks=True)
        elif source.exists():
            shutil.copyfile(source, where / name)
    open_to_all(where)


def open_to_all(where: Path) -> None:
    """A strict umask must not hide these from the sandbox's user."""
    for path in (where, *where.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
