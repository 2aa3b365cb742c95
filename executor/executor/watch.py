"""The files of one workspace, from cell to cell."""

from __future__ import annotations

import asyncio
from pathlib import Path

from executor import files
from executor.wire import FileChange

GLANCE_ENTRIES, GLANCE_S = 200, 0.001  # of a workspace, that may be looked at while everybody else waits


class Watch:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen = files.Snapshot()

    async def look(self) -> None:
        """What there is, before a cell changes it."""
        self._seen = await self._now()

    async def changed(self) -> list[FileChange]:
        """What differs from the last time."""
        before, self._seen = self._seen, await self._now()
        return files.changes(before, self._seen)

    async def remove(self) -> None:
        """All of it."""
        await asyncio.to_thread(files.remove, self._root)
        self._seen = files.Snapshot()

    async def _now(self) -> files.Snapshot:
        """A small workspace is looked through on the spot: a hop to a thread takes longer than the look."""
        now = files.snapshot(self._root, GLANCE_ENTRIES, GLANCE_S)
        return now if now.complete else await asyncio.to_thread(files.snapshot, self._root)
