"""What is on disk about a running sandbox (`sandbox.json` in its directory): enough for a later life of the executor to
keep it or to clear it away. No secret is in there: its token is derived (see identity.py).

Written before anything else of the sandbox exists, and replaced whole, so that no crash leaves a sandbox without a record
or half a record.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

FILE = "sandbox.json"


@dataclass(frozen=True, slots=True)
class Record:
    """`conversation` is None while the sandbox is warm. `spec_hash` tells settings apart; `created` and `deadline` are in
    seconds since the epoch. `facts` are the backend's own, and may be anything JSON can say."""

    id: str
    generation: int
    spec_hash: str
    created: float
    deadline: float
    conversation: str | None = None
    workspace: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def begin(directory: Path, record: Record) -> None:
    """Makes the sandbox's directory, closed to others, with its record. Raises FileExistsError when it is there already."""
    directory.mkdir(mode=0o700)
    write(directory, record)


def write(directory: Path, record: Record) -> None:
    new = directory / f"{FILE}.new"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        json.dump(asdict(record), file)
    new.replace(directory / FILE)


def read(directory: Path) -> Record | None:
    """None where there is no record, or none that this version wrote whole."""
    try:
        found = Record(**json.loads((directory / FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return found if found.id == directory.name else None


def bind(directory: Path, conversation: str, workspace: Path) -> None:
    """Notes whose the sandbox is from now on. Raises FileNotFoundError when it has no record (any more)."""
    found = read(directory)
    if found is None:
        raise FileNotFoundError(directory / FILE)
    write(directory, replace(found, conversation=conversation, workspace=str(workspace)))


def add(directory: Path, facts: dict[str, Any]) -> None:
    """Notes more facts of the backend's. Raises FileNotFoundError when there is no record (any more)."""
    found = read(directory)
    if found is None:
        raise FileNotFoundError(directory / FILE)
    write(directory, replace(found, facts={**found.facts, **facts}))
