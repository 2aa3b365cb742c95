"""What is kept of people, and the ports that keep it; beside `ports.py`, which knows nothing of them but a user's id.

Secrets never get here: passwords come as argon2id hashes, everything else as the hex of its SHA-256 (`hash`). Times are
Unix seconds. Every method is one transaction and raises `StoreUnavailable` when the database does not answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Role = Literal["user", "admin"]
Added = Literal["added", "email_taken", "not_first", "no_invite", "identity_taken"]


@dataclass(frozen=True, slots=True)
class UserRecord:
    """`password`: an argon2id hash, None for people who only come from a provider. `seen_at`: when they last signed in."""

    id: str
    email: str
    name: str
    role: Role
    group: str
    password: str | None
    disabled: bool
    created_at: float
    seen_at: float | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is at an OpenID provider: `subject` never changes, unlike an e-mail address."""

    provider: str
    subject: str


@dataclass(frozen=True, slots=True)
class SessionRecord:
    id: str
    user: str
    how: str
    agent: str
    address: str
    created_at: float
    seen_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class TokenRecord:
    id: str
    user: str
    label: str
    begins: str
    scopes: str
    created_at: float
    used_at: float | None
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class Known:
    """A session or token that holds, and whose it is. `scopes`: of a token, words with blanks between; else empty."""

    id: str
    user: str
    name: str
    email: str
    role: Role
    scopes: str
    created_at: float
    seen_at: float | None


@dataclass(frozen=True, slots=True)
class InviteRecord:
    """`made_by`, `used_by`: ids of users. `email`: whom it is for; empty for anybody."""

    id: str
    email: str
    role: Role
    group: str
    made_by: str
    created_at: float
    expires_at: float
    used_by: str | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """Somebody is at a provider. `browser`: the hash of what only their browser knows; `links`: the user whose account the
    identity is to open from now on, empty to sign in."""

    state: str
    browser: str
    provider: str
    nonce: str
    verifier: str
    return_to: str
    invite: str
    links: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class AuditRecord:
    id: int
    at: float
    actor: str
    action: str
    subject: str
    details: dict[str, Any]


class Users(Protocol):
    """Accounts, who they are at providers, invitations and resets."""

    async def any(self) -> bool: ...

    async def add(self, user: UserRecord, *, founder: bool, invite: str, identity: Identity | None) -> Added:
        """With an identity if given, using up the invitation whose hash is given. The founder can only be the first, and
        gets the conversations of the time before accounts."""
        ...

    async def by_id(self, id: str) -> UserRecord | None: ...

    async def by_email(self, email: str) -> UserRecord | None: ...

    async def by_identity(self, identity: Identity) -> UserRecord | None: ...

    async def identify(self, user: str, identity: Identity, now: float) -> bool:
        """The identity opens the account from now on. False when it opens another one."""
        ...

    async def all(self) -> list[tuple[UserRecord, list[str]]]:
        """By e-mail address, each with the providers they come from."""
        ...

    async def change(self, id: str, role: Role | None, disabled: bool | None, group: str | None) -> UserRecord | None:
        """None is left as it is. None, and nothing happens, when there is no such user or they are the last administrator
        who could undo it."""
        ...

    async def seen(self, id: str, now: float) -> None: ...

    async def set_password(self, id: str, old: str | None, password: str) -> bool:
        """False, and nothing happens, when the hash is not `old` any more. Resets that wait are void."""
        ...

    async def offer_reset(self, user: str, hash: str, expires_at: float) -> None:
        """In place of the user's last one."""
        ...

    async def reset(self, hash: str, password: str, now: float) -> str | None:
        """Whose password was set; None when there is no such reset, it was used, or is too old."""
        ...

    async def invite(self, invite: InviteRecord, hash: str) -> None: ...

    async def invitation(self, hash: str, now: float) -> InviteRecord | None:
        """One that can still be used."""
        ...

    async def invitations(self, now: float) -> list[InviteRecord]:
        """Newest first; those that nobody used and nobody can use any more are left out."""
        ...

    async def withdraw(self, id: str) -> bool: ...


class Keys(Protocol):
    """Sessions and tokens: what shows who somebody is."""

    async def add_session(self, session: SessionRecord, hash: str) -> None: ...

    async def session(self, hash: str, now: float) -> Known | None:
        """None also when it has expired or its user is disabled."""
        ...

    async def renew(self, id: str, seen_at: float, expires_at: float) -> None: ...

    async def rotate(self, id: str, hash: str) -> None:
        """The session goes on with another secret."""
        ...

    async def sessions(self, user: str, now: float) -> list[SessionRecord]: ...

    async def end_session(self, user: str, id: str) -> bool: ...

    async def end_sessions(self, user: str, but: str) -> None: ...

    async def add_token(self, token: TokenRecord, hash: str, most: int) -> bool:
        """False, and nothing happens, when the user has `most` already."""
        ...

    async def token(self, hash: str, now: float) -> Known | None: ...

    async def used(self, id: str, now: float) -> None: ...

    async def tokens(self, user: str) -> list[TokenRecord]: ...

    async def end_token(self, user: str, id: str) -> bool: ...

    async def holding(self, ids: Sequence[str], now: float) -> dict[str, Role]:
        """Which of these sessions and tokens hold, with the role of whom they belong to."""
        ...

    async def tidy(self, now: float) -> None:
        """Forget what has expired: sessions, resets, attempts, flows."""
        ...


class Attempts(Protocol):
    """Tries in windows of time, counted for all replicas together."""

    async def count(self, keys: Iterable[tuple[str, int, float]], now: float) -> float:
        """One more try for each (key, most, window in seconds). Returns how many seconds are left until another one is
        allowed; 0 when this one is."""
        ...

    async def forgive(self, cleared: Iterable[str], returned: Iterable[str]) -> None:
        """The try was none: some keys begin anew, others get it back."""
        ...


class Flows(Protocol):
    """Visits to providers."""

    async def begin(self, flow: Flow) -> None: ...

    async def take(self, state: str, now: float) -> Flow | None:
        """Once; None for a state that is unknown, was taken, or is too old."""
        ...


class AuditLog(Protocol):
    """What was done, append-only."""

    async def write(self, at: float, actor: str, action: str, subject: str, details: dict[str, Any]) -> None: ...

    async def read(self, before: int | None, limit: int) -> list[AuditRecord]:
        """Newest first; those with an id below `before`."""
        ...


@dataclass(frozen=True, slots=True)
class Accounts:
    """All of them, over one database."""

    users: Users
    keys: Keys
    attempts: Attempts
    flows: Flows
    audit: AuditLog
