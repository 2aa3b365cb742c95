"""Which entries of a foreign zip file may come in, and under which names. Pure; believes no size that the file states.

Refused are links and devices, names that lead out of the folder (absolute, `..`, drive letters, backslashes), names that
cannot be printed, the same name twice, entries that share their bytes, encryption, and methods other than deflate (those
inflate without bound). Names are put into their usual spelling first. Zip files within it are files like any other.
"""

from __future__ import annotations

import re
import stat
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from executor.storage.names import MOST_BYTES, MOST_PARTS, STAGING, Parts, normal, wrong

MOST_TOLD = 100  # names in a report's lists; the counts are exact
JUNK = {".DS_Store", "Thumbs.db", "desktop.ini"}
DRIVE = re.compile(r"[A-Za-z]:")
UTF8, ENCRYPTED = 0x800, 0x1
HEADER = 30  # bytes of an entry's own header, at least


@dataclass(frozen=True, slots=True)
class Refusal:
    """`name` as the zip file has it, fit to be shown; `reason` for programs, `words` for people."""

    name: str
    reason: str
    words: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """An entry to unpack at `parts` below the folder that receives it."""

    info: zipfile.ZipInfo
    parts: Parts
    is_folder: bool

    @property
    def executable(self) -> bool:
        return bool(self.info.external_attr >> 16 & 0o100)


@dataclass
class Report:
    """What became of an import. `refused` and `ignored` (by-products of other systems) hold the first hundred;
    `same_but_case` names that differ in nothing but capitals, which other systems cannot hold side by side."""

    files: int = 0
    folders: int = 0
    bytes: int = 0
    refused_count: int = 0
    refused: list[Refusal] = field(default_factory=list)
    ignored_count: int = 0
    ignored: list[str] = field(default_factory=list)
    same_but_case: list[str] = field(default_factory=list)

    def refuse(self, name: str, reason: str, words: str) -> None:
        self.refused_count += 1
        if len(self.refused) < MOST_TOLD:
            self.refused.append(Refusal(shown(name), reason, words))

    def ignore(self, name: str) -> None:
        self.ignored_count += 1
        if len(self.ignored) < MOST_TOLD:
            self.ignored.append(shown(name))


WORDS = {
    "absolute": "it begins with a slash",
    "parent": "it leads out of the folder with `..`",
    "drive": "it names a drive",
    "backslash": "it has a backslash",
    "name": "its name is empty, too long, or has characters that cannot be printed",
    "depth": f"it lies more than {MOST_PARTS} folders deep, or its path is too long",
    "reserved": f"{STAGING} is kept for files on their way",
    "link": "it is a link",
    "special": "it is a device, pipe or socket",
    "encrypted": "it is encrypted; pack it without a password",
    "method": "it is packed with a method other than deflate",
    "duplicate": "there is another entry of the same name",
    "overlap": "it shares its bytes with another entry, as zip bombs do",
}


def judge(infos: list[zipfile.ZipInfo], into: Parts, size: int) -> tuple[list[Wanted], Report]:
    """Those entries of a zip file of `size` bytes that may come in, in its order, and what is said of the others."""
    report, taken, chosen = Report(), set[Parts](), list[Wanted]()
    overlapping = overlaps(infos, size)
    for info in infos:
        name = spelled(info)
        parts = _parts(name)
        if parts and (parts[0] == "__MACOSX" or parts[-1] in JUNK):
            report.ignore(name)
            continue
        reason = _refused(info, name, parts, into) or ("overlap" if id(info) in overlapping else None)
        if reason is None and parts in taken and not (info.is_dir() and parts):
            reason = "duplicate"
        if reason is not None:
            report.refuse(name, reason, WORDS[reason])
        elif parts and parts not in taken:
            taken.add(parts)
            chosen.append(Wanted(info, parts, info.is_dir()))
    report.same_but_case = _same_but_case(taken)
    return chosen, report


def spelled(info: zipfile.ZipInfo) -> str:
    """An entry's name as it was meant: many programs write UTF-8 and forget to say so. A NUL and what follows it stay."""
    name = info.orig_filename
    if not info.flag_bits & UTF8:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode()
    return normal(name)


def shown(name: str) -> str:
    """A name in a report: what cannot be printed is written as an escape, and a long one is cut."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in name[:300])
    return text if len(name) <= 300 else text + "…"


def overlaps(infos: Iterable[zipfile.ZipInfo], size: int) -> set[int]:
    """The id() of each entry that begins before the one in front of it has ended, or ends after the file's `size`."""
    found, end = set[int](), 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        ends = info.header_offset + HEADER + info.compress_size
        if info.header_offset < end or ends > size:
            found.add(id(info))
        end = max(end, ends)
    return found


def _parts(name: str) -> Parts:
    """Without the slash at a folder's end, and the `./` that some programs begin with."""
    return tuple(part for part in (name.removeprefix("./").removesuffix("/"),) if part for part in part.split("/"))


def _refused(info: zipfile.ZipInfo, name: str, parts: Parts, into: Parts) -> str | None:
    return _wrong_name(name, parts, into) or _wrong_kind(info)


def _wrong_name(name: str, parts: Parts, into: Parts) -> str | None:
    whole = (*into, *parts)
    if name.startswith("/"):
        return "absolute"
    if "\\" in name:
        return "backslash"
    if DRIVE.match(name):
        return "drive"
    if ".." in parts:
        return "parent"
    if not name or any(wrong(part) is not None for part in parts):
        return "name"
    if len(whole) > MOST_PARTS or len("/".join(whole).encode()) > MOST_BYTES:
        return "depth"
    return "reserved" if whole[:1] == (STAGING,) else None


def _wrong_kind(info: zipfile.ZipInfo) -> str | None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "special"
    if info.flag_bits & ENCRYPTED:
        return "encrypted"
    return None if info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) else "method"


def _same_but_case(taken: set[Parts]) -> list[str]:
    seen: dict[str, list[str]] = {}
    for parts in taken:
        name = "/".join(parts)
        seen.setdefault(name.casefold(), []).append(name)
    return sorted(name for names in seen.values() if len(names) > 1 for name in names)[:MOST_TOLD]
