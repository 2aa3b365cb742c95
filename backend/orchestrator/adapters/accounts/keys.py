"""Sessions and tokens. Whether one holds is one statement: not expired, and its user not disabled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import Connection, bindparam, text

from orchestrator.accounts import Known, Role, SessionRecord, TokenRecord
from orchestrator.adapters.databases import Database

ADD_SESSION = text(
    "INSERT INTO sessions (id, hash, user_id, how, agent, address, created_at, seen_at, expires_at)"
    " VALUES (:id, :hash, :user, :how, :agent, :address, :created_at, :seen_at, :expires_at)"
)
SESSION = text(
    "SELECT s.id, u.id, u.name, u.email, u.role, '', s.created_at, s.seen_at FROM sessions s"
    " JOIN users u ON u.id = s.user_id WHERE s.hash = :hash AND s.expires_at > :now AND NOT u.disabled"
)
RENEW = text("UPDATE sessions SET seen_at = :seen_at, expires_at = :expires_at WHERE id = :id")
ROTATE = text("UPDATE sessions SET hash = :hash WHERE id = :id")
SESSIONS = text(
    "SELECT id, user_id, how, agent, address, created_at, seen_at, expires_at FROM sessions"
    " WHERE user_id = :user AND expires_at > :now ORDER BY seen_at DESC, id"
)
END_SESSION = text("DELETE FROM sessions WHERE id = :id AND user_id = :user")
END_SESSIONS = text("DELETE FROM sessions WHERE user_id = :user AND id <> :but")

LOCK_USER = text("UPDATE users SET name = name WHERE id = :user")
ADD_TOKEN = text(
    "INSERT INTO api_tokens (id, hash, user_id, label, begins, scopes, created_at, used_at, expires_at)"
    " SELECT :id, :hash, CAST(:user AS VARCHAR), :label, :begins, :scopes, CAST(:created_at AS DOUBLE PRECISION), NULL,"
    " CAST(:expires_at AS DOUBLE PRECISION)"
    " WHERE (SELECT count(*) FROM api_tokens WHERE user_id = :user) < :most"
)
TOKEN = text(
    "SELECT t.id, u.id, u.name, u.email, u.role, t.scopes, t.created_at, t.used_at FROM api_tokens t"
    " JOIN users u ON u.id = t.user_id"
    " WHERE t.hash = :hash AND (t.expires_at IS NULL OR t.expires_at > :now) AND NOT u.disabled"
)
USED = text("UPDATE api_tokens SET used_at = :now WHERE id = :id")
TOKENS = text(
    "SELECT id, user_id, label, begins, scopes, created_at, used_at, expires_at FROM api_tokens"
    " WHERE user_id = :user ORDER BY created_at DESC, id"
)
END_TOKEN = text("DELETE FROM api_tokens WHERE id = :id AND user_id = :user")

HOLDING = text(
    "SELECT s.id, u.role FROM sessions s JOIN users u ON u.id = s.user_id"
    " WHERE s.id IN :ids AND s.expires_at > :now AND NOT u.disabled"
    " UNION ALL SELECT t.id, u.role FROM api_tokens t JOIN users u ON u.id = t.user_id"
    " WHERE t.id IN :ids AND (t.expires_at IS NULL OR t.expires_at > :now) AND NOT u.disabled"
).bindparams(bindparam("ids", expanding=True))
AT_ONCE = 500  # ids in one question

TIDY = (
    text("DELETE FROM sessions WHERE expires_at <= :now"),
    text("DELETE FROM resets WHERE expires_at <= :now"),
    text("DELETE FROM attempts WHERE until <= :now"),
    text("DELETE FROM oidc_flows WHERE expires_at <= :now"),
)


class SqlKeys:
    """The Keys port."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_session(self, session: SessionRecord, hash: str) -> None:
        await self._database.change([(ADD_SESSION, {**asdict(session), "hash": hash})])

    async def session(self, hash: str, now: float) -> Known | None:
        rows = await self._database.find(SESSION, {"hash": hash, "now": now})
        return Known(*rows[0]) if rows else None

    async def renew(self, id: str, seen_at: float, expires_at: float) -> None:
        await self._database.change([(RENEW, {"id": id, "seen_at": seen_at, "expires_at": expires_at})])

    async def rotate(self, id: str, hash: str) -> None:
        await self._database.change([(ROTATE, {"id": id, "hash": hash})])

    async def sessions(self, user: str, now: float) -> list[SessionRecord]:
        return [SessionRecord(*row) for row in await self._database.find(SESSIONS, {"user": user, "now": now})]

    async def end_session(self, user: str, id: str) -> bool:
        return await self._database.change([(END_SESSION, {"user": user, "id": id})])

    async def end_sessions(self, user: str, but: str) -> None:
        await self._database.change([(END_SESSIONS, {"user": user, "but": but})])

    async def add_token(self, token: TokenRecord, hash: str, most: int) -> bool:
        def work(connection: Connection) -> bool:
            connection.execute(LOCK_USER, {"user": token.user})  # of many at once, each sees the one before
            return connection.execute(ADD_TOKEN, {**asdict(token), "hash": hash, "most": most}).rowcount > 0

        return await self._database.write(work)

    async def token(self, hash: str, now: float) -> Known | None:
        rows = await self._database.find(TOKEN, {"hash": hash, "now": now})
        return Known(*rows[0]) if rows else None

    async def used(self, id: str, now: float) -> None:
        await self._database.change([(USED, {"id": id, "now": now})])

    async def tokens(self, user: str) -> list[TokenRecord]:
        return [TokenRecord(*row) for row in await self._database.find(TOKENS, {"user": user})]

    async def end_token(self, user: str, id: str) -> bool:
        return await self._database.change([(END_TOKEN, {"user": user, "id": id})])

    async def holding(self, ids: Sequence[str], now: float) -> dict[str, Role]:
        def work(connection: Connection) -> dict[str, Role]:
            found: dict[str, Role] = {}
            for begin in range(0, len(ids), AT_ONCE):
                rows = connection.execute(HOLDING, {"ids": list(ids[begin : begin + AT_ONCE]), "now": now})
                found.update((row[0], row[1]) for row in rows)
            return found

        return await self._database.read(work)

    async def tidy(self, now: float) -> None:
        def work(connection: Connection) -> None:
            for statement in TIDY:
                connection.execute(statement, {"now": now})

        await self._database.write(work)
