"""Paths inside a workspace, as text. Pure.

A path is relative, its parts separated by `/`: `data/a.csv`. The workspace itself is the empty text. There is one way to
write each path: no `.`, no `..`, no doubled or trailing slash. Names that are not printable text (control characters,
line breaks, characters that turn the direction of writing, bytes that are no UTF-8) cannot be named here at all.
"""

from __future__ import annotations

import unicodedata

from executor.storage.errors import BadPath

MOST_BYTES = 4000  # PATH_MAX is 4096, with the NUL
MOST_NAME_BYTES = 255  # NAME_MAX
MOST_PARTS = 64  # the sandbox's guard ends it at 100 levels of folders
STAGING = ".incoming"  # at the top of a workspace: what is being uploaded, unpacked or removed

Parts = tuple[str, ...]


def parse(text: str) -> Parts:
    """The parts of a path; () is the workspace itself. Raises BadPath."""
    if text == "":
        return ()
    if text.startswith("/"):
        raise BadPath("A path is relative to the workspace and does not begin with a slash.")
    parts = tuple(text.split("/"))
    for part in parts:
        if (why := wrong(part)) is not None:
            raise BadPath(f"This path cannot be used: {why}.")
    if len(parts) > MOST_PARTS or len(text.encode()) > MOST_BYTES:
        raise BadPath(f"A path has at most {MOST_PARTS} parts and {MOST_BYTES} bytes.")
    if parts[0] == STAGING:
        raise BadPath(f"{STAGING} is kept for files on their way. Choose another name.")
    return parts


def entry(text: str) -> Parts:
    """The parts of a path that is not the workspace itself. Raises BadPath."""
    parts = parse(text)
    if not parts:
        raise BadPath("A path inside the workspace is needed, for example data/a.csv.")
    return parts


def wrong(name: str) -> str | None:
    """Why something cannot be the name of one file or folder; None when it can."""
    if name in ("", ".", ".."):
        return "it has an empty part, `.` or `..`"
    if "/" in name or not name.isprintable():  # NUL, line breaks, lone surrogates and U+202E are not printable
        return "it has characters that cannot be printed"
    if len(name.encode()) > MOST_NAME_BYTES:
        return f"one of its names has more than {MOST_NAME_BYTES} bytes"
    return None


def listed(name: str) -> bool:
    """Whether a name found on disk is told. (One that is too long for us cannot be there.)"""
    return wrong(name) is None


def join(parts: Parts) -> str:
    return "/".join(parts)


def normal(name: str) -> str:
    """A foreign name in its usual spelling: composed characters (NFC), and the plain space for every other kind of it."""
    composed = unicodedata.normalize("NFC", name)
    return "".join(" " if unicodedata.category(character) == "Zs" else character for character in composed)
