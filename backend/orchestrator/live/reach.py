"""Which conversations a connection may touch: the store is asked once for each, not for every frame."""

from __future__ import annotations

from orchestrator.ports import Store

REMEMBERED = 1000
"""Conversations per connection; then it is asked anew."""


class Reach:
    """Those of `user`."""

    def __init__(self, store: Store, user: str) -> None:
        self.user = user
        self._store = store
        self._theirs: set[str] = set()

    async def has(self, conversation: str) -> bool:
        """Whether there is such a conversation of the user. Raises `StoreUnavailable`."""
        if conversation in self._theirs:
            return True
        if await self._store.summary(self.user, conversation) is None:
            return False
        if len(self._theirs) >= REMEMBERED:
            self._theirs.clear()
        self._theirs.add(conversation)
        return True

    def forget(self, conversation: str) -> None:
        """It was deleted; its id may be anybody's."""
        self._theirs.discard(conversation)
