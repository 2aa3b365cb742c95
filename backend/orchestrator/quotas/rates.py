"""How often somebody may ask: a bucket of tokens for each, in memory. Every replica counts for itself, so with several the
limit is at most so many times what is set; what must hold exactly is a quota.

Two of these stand in the way of a request: one by address in front of everything, which costs an attacker's guesses little,
and one by user behind the sign-in.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Final

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from orchestrator.errors import rate_headers
from orchestrator.users.principal import found

LIMITED: Final = ("/api", "/v1", "/ws")
BURST_S: Final = 10.0
"""What is allowed at once is what comes back in that time, and a few requests at least: a page asks for several things."""
BURST_LEAST: Final = 10
KEPT: Final = 20_000
"""Buckets at most. The one not used for the longest goes: by then it is most likely full again."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float  # when it had them


@dataclass(frozen=True, slots=True)
class Taken:
    """`wait_s`: until the next request is allowed; 0 when this one is. `left`: whole requests that remain."""

    wait_s: float
    left: int


class Buckets:
    """`per_minute` requests for each key. `clock` only goes forward (monotonic)."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic, kept: int = KEPT) -> None:
        self.per_minute = per_minute
        self._rate = per_minute / 60
        self._most = max(float(BURST_LEAST), self._rate * BURST_S)
        self._clock = clock
        self._kept = kept
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: str) -> Taken:
        """One request. What is refused costs nothing: who goes on asking is let in as soon as who waits."""
        now = self._clock()
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(self._most, now)
            if len(self._buckets) > self._kept:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(key)
            bucket.tokens = min(self._most, bucket.tokens + max(0.0, now - bucket.at) * self._rate)
            bucket.at = now
        if bucket.tokens < 1:
            return Taken((1 - bucket.tokens) / self._rate, 0)
        bucket.tokens -= 1
        return Taken(0.0, int(bucket.tokens))


Key = Callable[[Scope], str | None]


def by_address(scope: Scope) -> str | None:
    """The client's address; of IPv6 the network of 64 bits, which one client has all of. None where there is none (a Unix
    socket)."""
    client = scope.get("client")
    if not client:
        return None
    try:
        address = ip_address(client[0])
    except ValueError:
        return str(client[0])
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return str(address)


def by_user(scope: Scope) -> str | None:
    principal = found(scope)
    return principal.user if principal is not None else None


class RateLimited:
    """ASGI middleware. Refusals are 429; a websocket is not opened."""

    def __init__(self, app: ASGIApp, buckets: Buckets, key: Key) -> None:
        self._app = app
        self._buckets = buckets
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and _limited(scope["path"]) and (key := self._key(scope)) is not None:
            taken = self._buckets.take(key)
            if taken.wait_s > 0:
                return await self._refuse(taken, scope, receive, send)
        return await self._app(scope, receive, send)

    async def _refuse(self, taken: Taken, scope: Scope, receive: Receive, send: Send) -> None:
        most = self._buckets.per_minute
        words = f"Too many requests: {most} a minute are allowed. Wait a moment, then go on more slowly."
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4429, "reason": words[:120]})
            return
        headers = rate_headers(most, taken.left, taken.wait_s) | {"Cache-Control": "no-store"}
        await JSONResponse(_body(scope["path"], words), 429, headers)(scope, receive, send)


def _body(path: str, words: str) -> dict[str, object]:
    if path.startswith("/v1"):  # as OpenAI's clients expect it
        error = {"message": words, "type": "requests", "param": None, "code": "rate_limit_exceeded"}
        return {"error": error}
    return {"error": "TooMany", "detail": words}


def _limited(path: str) -> bool:
    return any(path == prefix or path.startswith(prefix + "/") for prefix in LIMITED)
