"""The part of requirements.lock that one of our packages needs, hashes included, so that an image holds what its service
imports and nothing else.

    python3 wanted.py codeact-executor <requirements.lock >wanted.lock

More names, of libraries that the package can do without, add these. The lock says below each library what asked for it
(`# via …`); this follows those notes from the names on.
"""

from __future__ import annotations

import re
import sys

PINNED = re.compile(r"([A-Za-z0-9._-]+)(\[[^]]*\])?==")
ASKED = re.compile(r"    #(?: via|  ) +([A-Za-z0-9._-]+)")


def entries(lock: str) -> dict[str, str]:
    """The lock cut into its libraries, by name: each with its hashes and its notes."""
    found: dict[str, str] = {}
    name = ""
    for line in lock.splitlines(keepends=True):
        if start := PINNED.match(line):
            name = start.group(1)
            found[name] = ""
        if name:
            found[name] += line
    return found


def askers(entry: str) -> set[str]:
    """Who asked for a library."""
    return {match.group(1) for line in entry.splitlines() if (match := ASKED.match(line))}


def wanted(lock: str, *roots: str) -> str:
    """The entries that the roots need, in the lock's order, those of roots that are libraries too. Raises ValueError for a
    root that the lock does not know."""
    all_entries = entries(lock)
    asked_by = {name: askers(entry) for name, entry in all_entries.items()}
    for root in roots:
        if root not in asked_by and not any(root in who for who in asked_by.values()):
            raise ValueError(f"The lock knows no {root}: was it made without its notes?")
    names = _closure(asked_by, set(roots))
    return "".join(entry for name, entry in all_entries.items() if name in names)


def _closure(asked_by: dict[str, set[str]], roots: set[str]) -> set[str]:
    found = roots
    while new := {name for name, who in asked_by.items() if who & found} - found:
        found = found | new
    return found


if __name__ == "__main__":
    sys.stdout.write(wanted(sys.stdin.read(), *sys.argv[1:]))
