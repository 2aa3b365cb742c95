"""Who may drive a conversation's kernel. A lease has an owner, an end, and a fence: a number that grows with every change
of owner, so that an owner who slept through a takeover is refused whatever it believes.

Granted by one SQL statement that compares owner and end: while a lease runs it is its owner's, but whoever runs no cell
loses nothing by a takeover, so an idle one is anybody's. Then kept in memory as well, so that a cell is checked without a
look at the database. Its end ends nothing: it only lets another owner take over, with the same kernel.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from executor import words
from executor.store import Store

FORGET_S = 90 * 86400.0  # fences of conversations that were not used for so long start again

ACQUIRE = """
insert into leases (conversation, owner, fence, expires_at, tenant, profile)
values (:conversation, :owner, 1, :expires_at, :tenant, :profile)
on conflict (conversation) do update set
    fence = fence + (leases.owner <> excluded.owner),
    owner = excluded.owner, expires_at = excluded.expires_at, tenant = excluded.tenant, profile = excluded.profile
where leases.owner = excluded.owner or leases.expires_at <= :now or :idle
returning conversation, owner, fence, expires_at, tenant, profile
"""
RENEW = """
update leases set expires_at = :expires_at where conversation = :conversation and fence = :fence and owner <> ''
returning conversation, owner, fence, expires_at, tenant, profile
"""
RELEASE = """
update leases set owner = '', expires_at = :now, fence = fence + 1 where conversation = :conversation and fence = :fence
returning conversation, owner, fence, expires_at, tenant, profile
"""
ALL = "select conversation, owner, fence, expires_at, tenant, profile from leases"


class Fenced(Exception):
    """Somebody else drives this conversation's kernel; the message says so."""


@dataclass(frozen=True, slots=True)
class Lease:
    """`owner` is empty when nobody has it. `expires_at`: seconds since the epoch."""

    conversation: str
    owner: str
    fence: int
    expires_at: float
    tenant: str
    profile: str


class Leases:
    def __init__(self, store: Store, wall: Callable[[], float]) -> None:
        self._store = store
        self._wall = wall
        self._known: dict[str, Lease] = {}
        self._moving: dict[str, int] = {}  # conversations that are being taken from an owner that is idle, by how many

    async def load(self) -> None:
        """What earlier lives granted holds. Raises StoreUnavailable."""
        oldest = self._wall() - FORGET_S

        def read(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
            connection.execute("delete from leases where expires_at < ?", (oldest,))
            return connection.execute(ALL).fetchall()

        stored = {row[0]: Lease(*row) for row in await self._store.do(read)}
        granted = {id: lease for id, lease in self._known.items() if lease.expires_at >= oldest}  # while this was read
        self._known = stored | {id: one for id, one in granted.items() if id not in stored or stored[id].fence <= one.fence}

    def of(self, conversation: str) -> Lease | None:
        return self._known.get(conversation)

    async def acquire(
        self, conversation: str, owner: str, ttl_s: float, tenant: str, profile: str, idle: bool = False
    ) -> Lease:
        """The lease, for as long as `ttl_s` from now; the same fence again for an owner that has it. `idle`: nothing runs,
        so that it may be taken from whoever has it. Raises Fenced when another one has it, StoreUnavailable."""
        now = self._wall()
        facts = {"conversation": conversation, "owner": owner, "tenant": tenant, "profile": profile, "idle": idle}
        with self._taking(conversation, owner) if idle else nullcontext():
            lease = await self._one(ACQUIRE, facts | {"now": now, "expires_at": now + ttl_s})
        if lease is None:
            raise Fenced(words.FENCED)
        return lease

    @contextmanager
    def _taking(self, conversation: str, owner: str) -> Iterator[None]:
        """During the block another owner's fence does not hold: a cell that began now would be stopped at once."""
        known = self._known.get(conversation)
        if known is None or known.owner in ("", owner):
            yield
            return
        self._moving[conversation] = self._moving.get(conversation, 0) + 1
        try:
            yield
        finally:
            self._moving[conversation] -= 1
            if not self._moving[conversation]:
                del self._moving[conversation]

    async def renew(self, conversation: str, fence: int, ttl_s: float) -> Lease:
        """Raises Fenced when the fence is not the lease's, StoreUnavailable."""
        lease = await self._one(RENEW, {"conversation": conversation, "fence": fence, "expires_at": self._wall() + ttl_s})
        if lease is None:
            raise Fenced(words.FENCED)
        return lease

    async def release(self, conversation: str, fence: int) -> None:
        """The fence holds no more, and anybody may have the lease. Raises Fenced, StoreUnavailable."""
        if await self._one(RELEASE, {"conversation": conversation, "fence": fence, "now": self._wall()}) is None:
            raise Fenced(words.FENCED)

    def check(self, conversation: str, fence: int) -> None:
        """Raises Fenced unless `fence` is the lease's, expired or not, and nobody is just taking it over."""
        lease = self._known.get(conversation)
        if lease is None or lease.fence != fence or not lease.owner or conversation in self._moving:
            raise Fenced(words.FENCED)

    async def _one(self, statement: str, facts: dict[str, Any]) -> Lease | None:
        row = await self._store.do(lambda connection: connection.execute(statement, facts).fetchone())
        if row is None:
            return None
        lease = Lease(*row)
        known = self._known.get(lease.conversation)
        if known is None or known.fence <= lease.fence:
            self._known[lease.conversation] = lease
        return lease
