"""The runs of all conversations: which there are, and how they are told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from executor.drive import Run
from executor.wire import Rung
from executor.wire_claims import Interrupted


class Runs:
    def __init__(self) -> None:
        self._of: dict[str, set[Run]] = {}

    def of(self, conversation: str) -> list[Run]:
        """Those that run or wait."""
        return list(self._of.get(conversation, ()))

    def all(self) -> list[Run]:
        return [run for runs in self._of.values() for run in runs]

    def any_of(self, conversation: str) -> bool:
        return conversation in self._of

    def add(self, conversation: str, run: Run) -> None:
        self._of.setdefault(conversation, set()).add(run)

    def remove(self, conversation: str, run: Run) -> None:
        runs = self._of[conversation]
        runs.discard(run)
        if not runs:
            del self._of[conversation]

    def stop(self, conversation: str, which: Callable[[Run], bool] = lambda run: True) -> list[Run]:
        """Returns at once; the ladder is climbed by those that drive them."""
        runs = [run for run in self.of(conversation) if which(run)]
        for run in runs:
            run.stop()
        return runs

    async def settle(self, patiences_s: Iterable[float]) -> None:
        """Waits so long for all to end; then tells them to, and waits again."""
        for patience in patiences_s:
            if running := self.all():
                await asyncio.wait([run.closed for run in running], timeout=patience)
            for run in self.all():
                run.stop()


async def ended(runs: list[Run]) -> Interrupted:
    """Waits until they have; how far the ladder had to be climbed."""
    if runs:
        await asyncio.wait([run.closed for run in runs])
    all_closed = [run.closed.result() for run in runs]
    worst = max((closed.rung for closed in all_closed), key=list(Rung).index, default=Rung.NONE)
    return Interrupted(rung=worst, variables_kept=all(closed.variables_kept for closed in all_closed))
