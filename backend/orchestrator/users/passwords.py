"""Passwords: argon2id (RFC 9106), in threads of its own. A name that nobody has takes as long as one that somebody has."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from orchestrator.errors import TooMany

if TYPE_CHECKING:
    from argon2 import PasswordHasher

T = TypeVar("T")

THREADS = 2
MOST_WAITING = 32
"""Each takes about a tenth of a second and 64 MiB; more than these are sent away rather than kept waiting."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`rehash`: right, but hashed with weaker parameters than today's."""

    right: bool
    rehash: bool = False


class Passwords:
    """`close` it in the end. Methods raise `TooMany` when too many are waiting."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "passwords")
        self._waiting = 0
        self._hasher: PasswordHasher | None = None
        self._nobodys = ""

    async def hash(self, password: str) -> str:
        return await self._run(lambda: self._ready().hash(_normal(password)))

    async def verify(self, hash: str | None, password: str) -> Verdict:
        """None: there is nobody, or they have no password; wrong, after the same work."""
        return await self._run(lambda: self._verify(hash, _normal(password)))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _verify(self, hash: str | None, password: str) -> Verdict:
        from argon2.exceptions import InvalidHashError, VerificationError

        hasher = self._ready()
        try:
            hasher.verify(hash or self._nobodys, password)
        except (VerificationError, InvalidHashError):
            return Verdict(False)
        return Verdict(True, hasher.check_needs_rehash(hash)) if hash else Verdict(False)

    def _ready(self) -> PasswordHasher:
        """Made in the thread that needs it first: loading the library and the first hash take a while."""
        if self._hasher is None:
            from argon2 import PasswordHasher

            from orchestrator.users.secret import fresh

            hasher = PasswordHasher()
            self._nobodys = hasher.hash(fresh())
            self._hasher = hasher
        return self._hasher

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= MOST_WAITING:
            raise TooMany("Too many people are signing in at this moment. Try again in a few seconds.", 5.0)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1


def _normal(password: str) -> str:
    """The same characters whatever keyboard they came from (NIST SP 800-63B, 5.1.1.2)."""
    return unicodedata.normalize("NFKC", password)
