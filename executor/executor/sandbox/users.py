"""Which user each sandbox runs as: one that no other sandbox of this executor has, so that nothing the kernel counts or
allows by user (signals, files, watches, pipes) is shared between two."""

from __future__ import annotations

import secrets


class Users:
    """User ids from `ids`, in use or free."""

    def __init__(self, ids: range) -> None:
        self._ids = ids
        self._taken: set[int] = set()

    def take(self, wanted: int) -> int:
        """`wanted`, when it is one of ours and free; else another. A workspace whose owner is kept needs no change."""
        uid = wanted if wanted in self._ids else secrets.choice(self._ids)
        while uid in self._taken:
            uid = secrets.choice(self._ids)
        self._taken.add(uid)
        return uid

    def free(self, uid: int) -> None:
        self._taken.discard(uid)
