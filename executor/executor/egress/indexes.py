"""The package indexes that this machine's pip is set to use, read as pip reads them: its files, then the environment. They
are what sandboxes may use unless the operator says otherwise.

What a sandbox cannot use is left out with words for the operator: an index that is a directory of this machine, and one
whose address holds a password, which must not be told to code that nobody has read (and cannot be added later, since
the requests are encrypted all the way).
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from executor.egress.rules import Entry, authority

PYPI = "https://pypi.org/simple"
PYPI_FILES = "files.pythonhosted.org"  # where pypi.org's index leads to
SECTIONS = ("global", "install")
NONE_LEFT = (
    "Packages cannot be installed: this sandbox may reach some hosts, but none of the package indexes that the operator "
    "has configured can be used from a sandbox. `pip list` shows the packages that are there.\n"
)


@dataclass(frozen=True, slots=True)
class Indexes:
    """What pip in a sandbox is told. `left_out` are words for the operator's log, without any secret."""

    index: str | None  # None: no index at all
    extra: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def urls(self) -> tuple[str, ...]:
        return (*((self.index,) if self.index else ()), *self.extra, *self.links)

    @property
    def notice(self) -> str:
        """Why nothing can be installed; empty when something can."""
        return "" if self.urls else NONE_LEFT


def pip_files(environ: Mapping[str, str]) -> list[Path]:
    """Where pip keeps its settings; later files count more."""
    home = Path(environ.get("HOME") or "/nonexistent")
    shared = [Path(part) / "pip" / "pip.conf" for part in (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":") if part]
    own = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf"
    named = environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []  # pip's way to say: no file at all
    found = [*shared, Path("/etc/pip.conf"), home / ".pip" / "pip.conf", own, Path(sys.prefix) / "pip.conf"]
    return [*found, Path(named)] if named else found


def pip_settings(environ: Mapping[str, str], files: list[Path]) -> dict[str, str]:
    """pip's options by their long names."""
    found: dict[str, str] = {}
    for file in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeError):
            continue  # pip itself will complain
        for section in filter(parser.has_section, SECTIONS):
            found |= {name.replace("_", "-"): value for name, value in parser.items(section)}
    for name, value in environ.items():
        if name.startswith("PIP_") and value:
            found[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    return found


def indexes(settings: Mapping[str, str]) -> Indexes:
    """What of pip's settings a sandbox is told."""
    left_out: list[str] = []

    def usable(name: str, default: str = "") -> tuple[str, ...]:
        urls = tuple(dict.fromkeys(settings.get(name, default).split()))
        words = {url: unusable(url) for url in urls}
        left_out.extend(f"{name}: {why}" for why in words.values() if why)
        return tuple(url for url in urls if not words[url])

    links = usable("find-links")
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        return Indexes(None, (), links, left_out=tuple(left_out))
    found = usable("index-url", PYPI)[:1] + usable("extra-index-url")  # without a first one, pip would ask PyPI unasked
    trusted = tuple(dict.fromkeys(settings.get("trusted-host", "").split()))
    return Indexes(found[0] if found else None, found[1:], links, trusted, tuple(left_out))


def unusable(url: str) -> str:
    """Why a sandbox cannot use an index; empty when it can. Tells nothing of the address but its host."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):
            return "a directory of this machine, which sandboxes cannot see; serve it over http"
        if parts.username is not None or parts.password is not None:
            return f"the address of {parts.hostname} holds a password, which sandboxes must not see; this is not supported"
        authority(parts.netloc)
    except ValueError as error:
        return f"an address that cannot be read ({error})"
    return ""


def entries_for(urls: tuple[str, ...]) -> tuple[Entry, ...]:
    """The hosts behind usable indexes, and what they need besides."""
    found = dict.fromkeys(_entry(urlsplit(url)) for url in urls)
    if any(entry.host.name == "pypi.org" for entry in found):
        found[Entry(authority(PYPI_FILES)[0])] = None
    return tuple(found)


def _entry(parts: SplitResult) -> Entry:
    host, port = authority(parts.netloc)
    if parts.scheme == "http":
        return Entry(host, port or 80)
    return Entry(host, None if port in (None, 443) else port)
