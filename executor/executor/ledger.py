"""Every sandbox there is, and a line for each thing that happens to one: in the log, in the counts, in the audit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from executor.counts import Counts
from executor.lifecycle import HOLDS_ROOM, OVER, Life, State
from executor.live import Live

log = logging.getLogger(__name__)

Note = Callable[[str, dict[str, Any]], None]
"""`note(action, facts)`: something for the audit. Returns at once."""

CLAIMED = (State.WARM, State.BOOTING)  # from where a sandbox becomes a conversation's
CELLS = {State.IDLE, State.BUSY}  # between these it goes with every cell, and no line is written


def _unnoted(action: str, facts: dict[str, Any]) -> None:
    """Nobody audits."""


class Ledger:
    """`changed` is called after each change that may make room or take it."""

    def __init__(self, note: Note = _unnoted) -> None:
        self.counts = Counts()
        self.note = note
        self.changed: Callable[[], None] = lambda: None
        self.lives: dict[str, Live] = {}  # those that have come into being, by id
        self._lives: dict[str, Life] = {}

    def wish(self, id: str, conversation: str = "", tenant: str = "") -> Life:
        """A sandbox that somebody wants. It is here until it is gone."""
        life = Life(id, self._told, conversation, tenant)
        self._lives[id] = life
        return life

    def holding(self) -> int:
        """Sandboxes that take room on this host: being made, alive, or not quite gone."""
        return sum(life.state in HOLDS_ROOM for life in self._lives.values())

    def ending(self) -> int:
        return sum(life.state is State.KILLING for life in self._lives.values())

    def of_tenant(self, tenant: str) -> Iterable[Life]:
        """Those of a tenant's conversations, wished for or alive, but for those that are on their way out."""
        over = (*OVER, State.KILLING)
        return [
            life for life in self._lives.values() if life.conversation and life.tenant == tenant and life.state not in over
        ]

    def _told(self, life: Life, before: State) -> None:
        now = life.state
        if not {before, now} <= CELLS:
            log.info("sandbox %s of conversation %s: %s → %s", life.id, life.conversation or "-", before, now)
        self.counts.sandboxes[before] -= before in HOLDS_ROOM
        self.counts.sandboxes[now] += now in HOLDS_ROOM
        self.counts.depth = self.counts.sandboxes[State.WARM]
        if now is State.IDLE and before in CLAIMED and not life.adopted:
            self._note("grant", life, warm=before is State.WARM)
        elif now is State.KILLING:
            self.counts.ends[life.reason or "unknown"] += 1
            self._note("kill", life)
        elif now is State.LOST:
            self._note("lost", life)
        if now is State.GONE:
            self._lives.pop(life.id, None)
            self.lives.pop(life.id, None)
            self.changed()
        elif now is State.IDLE:
            self.changed()

    def _note(self, action: str, life: Life, **more: Any) -> None:
        facts = {"sandbox": life.id, "conversation": life.conversation, "tenant": life.tenant, "reason": life.reason}
        self.note(action, facts | more)
