"""What one does with one's own sessions and tokens."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.accounts import SessionRecord, TokenRecord
from orchestrator.audit import audit
from orchestrator.errors import NotFound, Taken
from orchestrator.users.principal import Principal
from orchestrator.users.schemas import MadeToken, MakeToken, SessionLine, SessionList, TokenLine, TokenList
from orchestrator.users.secret import TOKEN, digest, fresh, new_id
from orchestrator.users.service import Service

MOST_TOKENS = 50
SHOWN = 12
"""Of a token's characters, so that its owner can tell it from others; 48 of its 256 bits."""


class Own:
    """Methods raise `NotFound` for what is not there or not theirs."""

    def __init__(self, service: Service, clock: Callable[[], float]) -> None:
        self._service = service
        self._keys = service.accounts.keys
        self._clock = clock

    async def sessions(self, who: Principal) -> SessionList:
        records = await self._keys.sessions(who.user, self._clock())
        return SessionList(sessions=[_session(record, who) for record in records])

    async def end_session(self, who: Principal, id: str) -> None:
        if not await self._service.sessions.end(who.user, id):
            raise NotFound("There is no such session. It may have ended.")
        await audit(self._service.accounts.audit, who.user, "session.ended", id)

    async def tokens(self, who: Principal) -> TokenList:
        return TokenList(tokens=[_token(record) for record in await self._keys.tokens(who.user)])

    async def make_token(self, who: Principal, wanted: MakeToken) -> MadeToken:
        """Raises `Taken` when they have as many as one may."""
        now = self._clock()
        secret = fresh(TOKEN)
        expires_at = None if wanted.days is None else now + wanted.days * 86400
        scopes = " ".join(sorted(set(wanted.scopes)))
        record = TokenRecord(new_id(), who.user, wanted.label, secret[:SHOWN], scopes, now, None, expires_at)
        if not await self._keys.add_token(record, digest(secret), MOST_TOKENS):
            raise Taken(f"You have {MOST_TOKENS} tokens. Remove one that you do not need any more.")
        await audit(self._service.accounts.audit, who.user, "token.made", record.id, scopes=scopes, expires_at=expires_at)
        return MadeToken(token=secret, line=_token(record))

    async def end_token(self, who: Principal, id: str) -> None:
        if not await self._service.sessions.end_token(who.user, id):
            raise NotFound("There is no such token. It may have been removed.")
        await audit(self._service.accounts.audit, who.user, "token.removed", id)


def _session(record: SessionRecord, who: Principal) -> SessionLine:
    return SessionLine(
        id=record.id, how=record.how, agent=record.agent, address=record.address, created_at=record.created_at,
        seen_at=record.seen_at, expires_at=record.expires_at, current=record.id == who.session,
    )  # fmt: skip


def _token(record: TokenRecord) -> TokenLine:
    return TokenLine.model_validate(
        {
            "id": record.id, "label": record.label, "begins": record.begins, "scopes": record.scopes.split(),
            "created_at": record.created_at, "used_at": record.used_at, "expires_at": record.expires_at,
        }
    )  # fmt: skip
