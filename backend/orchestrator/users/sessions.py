"""Who a secret belongs to: sessions and tokens, found in the store and remembered for a moment.

Revoking is told on the bus, so that every replica forgets at once what it remembers and hangs up on whoever is connected.
Should the news not come through, what is remembered is read anew after KNOWN_S, and connections are looked through every
LOOK_S (`presence.py`).
"""

from __future__ import annotations

import json
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass

from orchestrator.accounts import Keys, Known, SessionRecord
from orchestrator.ports import Bus
from orchestrator.users.presence import Presence
from orchestrator.users.principal import SCOPES, Principal
from orchestrator.users.secret import TOKEN, digest, fresh, new_id

log = logging.getLogger(__name__)

CHANNEL = "accounts"
"""The bus channel that carries `News`, as JSON, to every replica."""
KNOWN_S = 5.0
REMEMBERED = 10_000
IDLE_S = 14 * 86400.0
"""A session that nobody uses for so long ends; using it begins the time anew."""
LONGEST_S = 90 * 86400.0
"""After that one signs in again, whatever happens."""
SEEN_S = 600.0
"""How exactly the last use is known: one write in so long a time, not one per request."""


@dataclass(frozen=True, slots=True)
class News:
    """What is remembered of a user's keys is wrong: of the one with the id `key`, or when that is empty of all sessions but
    `but`, and of all tokens too if `tokens`. `over`: they hold no more, so whoever is connected with one goes."""

    user: str
    key: str = ""
    but: str = ""
    tokens: bool = True
    over: bool = True

    def concerns(self, principal: Principal) -> bool:
        if principal.user != self.user:
            return False
        if self.key:
            return principal.session == self.key
        return principal.session != self.but if principal.how == "session" else self.tokens


class Sessions:
    """`clock`: Unix seconds."""

    def __init__(self, keys: Keys, bus: Bus, presence: Presence, clock: Callable[[], float]) -> None:
        self._keys = keys
        self._bus = bus
        self._presence = presence
        self._clock = clock
        self._known: OrderedDict[str, tuple[Principal, float]] = OrderedDict()
        self._news = 0  # how often something was revoked: what was read meanwhile is not remembered

    async def principal(self, secret: str) -> Principal | None:
        """Whose secret it is; None when it is nobody's (any more). Raises `StoreUnavailable`."""
        if not 20 <= len(secret) <= 200:
            return None
        hash = digest(secret)
        principal, until = self._known.get(hash, (None, 0.0))
        if principal is not None and time.monotonic() < until:
            return principal
        news = self._news
        is_token = secret.startswith(TOKEN)
        now = self._clock()
        known = await (self._keys.token(hash, now) if is_token else self._keys.session(hash, now))
        if known is None:
            self._known.pop(hash, None)
            return None
        await self._used(known, is_token, now)
        principal = _principal(known, is_token)
        if news == self._news:
            self._remember(hash, principal)
        return principal

    async def begin(self, user: str, how: str, agent: str, address: str) -> str:
        """A new session; its secret, which is known to nobody else."""
        now = self._clock()
        secret = fresh()
        record = SessionRecord(new_id(), user, how, agent[:300], address[:64], now, now, now + IDLE_S)
        await self._keys.add_session(record, digest(secret))
        return secret

    async def rotate(self, principal: Principal) -> str:
        """The session goes on with another secret; the old one is worth nothing."""
        secret = fresh()
        await self._keys.rotate(principal.session, digest(secret))
        await self.tell(News(principal.user, principal.session, over=False))
        return secret

    async def end(self, user: str, key: str) -> bool:
        """One session. False when the user has none of that id."""
        ended = await self._keys.end_session(user, key)
        if ended:
            await self.tell(News(user, key))
        return ended

    async def end_token(self, user: str, key: str) -> bool:
        ended = await self._keys.end_token(user, key)
        if ended:
            await self.tell(News(user, key))
        return ended

    async def end_all(self, user: str, but: str = "") -> None:
        """Sessions, not tokens."""
        await self._keys.end_sessions(user, but)
        await self.tell(News(user, but=but, tokens=False))

    async def tell(self, news: News) -> None:
        """Here and to every replica."""
        self.heard(news)
        try:
            await self._bus.publish(CHANNEL, json.dumps(asdict(news)).encode())
        except Exception:  # it has happened all the same: others notice within KNOWN_S and LOOK_S
            log.warning("the end of a session could not be told to other servers", exc_info=True)

    def heard(self, news: News) -> None:
        self._forget(news)
        if news.over:
            self._presence.hang_up(news.concerns)

    def forget_all(self) -> None:
        self._news += 1
        self._known.clear()

    def _forget(self, news: News) -> None:
        self._news += 1
        for hash in [hash for hash, (principal, _) in self._known.items() if news.concerns(principal)]:
            del self._known[hash]

    def _remember(self, hash: str, principal: Principal) -> None:
        self._known[hash] = (principal, time.monotonic() + KNOWN_S)
        self._known.move_to_end(hash)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    async def _used(self, known: Known, is_token: bool, now: float) -> None:
        if known.seen_at is not None and now - known.seen_at < SEEN_S:
            return
        if is_token:
            await self._keys.used(known.id, now)
        else:
            await self._keys.renew(known.id, now, min(now + IDLE_S, known.created_at + LONGEST_S))


def _principal(known: Known, is_token: bool) -> Principal:
    scopes = frozenset(known.scopes.split()) if is_token else SCOPES
    return Principal(known.user, known.name, known.role, "token" if is_token else "session", scopes, known.id)
