"""The kernels that one conversation has had: how many, and why the variables of the last one are gone."""

from __future__ import annotations

from collections.abc import Callable

from executor.lifecycle import Reason
from executor.wire_claims import Previous

NOT_STOPPED = "did_not_stop"  # the reason why variables are gone that a cell's stop took along


class History:
    """`changed` is called when there is a kernel, it holds variables, or they were lost."""

    def __init__(self, wall: Callable[[], float], changed: Callable[[], None]) -> None:
        self.generation = 0
        self.previous: Previous | None = None  # why the last kernel with variables is no more
        self.untold: Previous | None = None  # the same, until the conversation has been told
        self.cause = ""  # why the kernel is about to be replaced
        self.holds_variables = False  # a cell has run in this kernel
        self.recalled = False
        self.expected = True  # the kernel of an earlier life of the executor holds variables, for all that is known
        self._wall = wall
        self._changed = changed

    def recall(self, generation: int, previous: Previous | None, told: bool, held: bool) -> None:
        """What an earlier life of the executor, or of the slot, knew."""
        if not self.recalled:
            self.recalled, self.expected = True, held
            self.generation += generation
            self.previous = self.previous or previous
            if not told:
                self.untold = self.untold or previous

    def begin(self, same: bool = False) -> None:
        """There is a new kernel, or the `same` one again."""
        self.generation += not same
        self.cause = ""
        self._changed()

    def hold(self) -> None:
        """A cell is about to run."""
        if not self.holds_variables:
            self.holds_variables = True
            self._changed()

    def lose(self, reason: str) -> None:
        """The kernel is gone, and with it the variables, if there were any."""
        reason, self.cause = self.cause or reason, ""
        if self.holds_variables:
            self.holds_variables = False
            self.previous = self.untold = Previous(reason=reason, at=self._wall())
            self._changed()

    def explain(self, reason: str) -> None:
        """Why the kernel was lost has shown only now."""
        if self.previous is not None and self.previous.reason == Reason.GATEWAY_DIED:
            told = self.untold is None
            self.previous = Previous(reason=reason, at=self.previous.at)
            self.untold = None if told else self.previous
            self._changed()

    def tell(self) -> Previous | None:
        """Once, what became of the variables before."""
        told, self.untold = self.untold, None
        if told is not None:
            self._changed()
        return told
