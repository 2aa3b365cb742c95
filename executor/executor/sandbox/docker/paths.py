"""The same directory, as the engine's host calls it: an executor in a container sees its data under another name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Paths:
    """`here` is a directory as this process sees it, `there` the same one as the host does."""

    here: Path
    there: Path

    def host(self, path: Path) -> Path:
        """Raises ValueError for a path that the host may not have, or not under that name."""
        absolute = path.absolute()
        if self.here == self.there:
            return absolute
        return self.there / absolute.relative_to(self.here)
