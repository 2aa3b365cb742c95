"""Accounts, who they are at providers, invitations and resets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, TextClause

from orchestrator.accounts import Added, Identity, InviteRecord, Role, UserRecord
from orchestrator.adapters.accounts import user_sql as sql
from orchestrator.adapters.databases import Database, Taken, Values


class _Refused(Exception):
    """Rolls the transaction back."""

    def __init__(self, why: Added) -> None:
        super().__init__(why)
        self.why: Added = why


class SqlUsers:
    """The Users port."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def any(self) -> bool:
        return bool(await self._database.find(sql.ANY, {}))

    async def add(self, user: UserRecord, *, founder: bool, invite: str, identity: Identity | None) -> Added:
        def work(connection: Connection) -> None:
            connection.execute(sql.ADD, {**asdict(user), "founder": 1 if founder else None})
            if founder:
                connection.execute(sql.ADOPT, {"user": user.id})
            if invite:
                used = {"hash": invite, "user": user.id, "email": user.email, "now": user.created_at}
                if not connection.execute(sql.USE_INVITE, used).rowcount:
                    raise _Refused("no_invite")
            if identity is not None:
                connection.execute(sql.IDENTIFY, {"user": user.id, "now": user.created_at, **asdict(identity)})

        try:
            await self._database.write(work)
        except _Refused as refused:
            return refused.why
        except Taken:
            return await self._why_taken(user, founder)
        return "added"

    async def by_id(self, id: str) -> UserRecord | None:
        return await self._one(sql.BY_ID, {"id": id})

    async def by_email(self, email: str) -> UserRecord | None:
        return await self._one(sql.BY_EMAIL, {"email": email})

    async def by_identity(self, identity: Identity) -> UserRecord | None:
        return await self._one(sql.BY_IDENTITY, asdict(identity))

    async def identify(self, user: str, identity: Identity, now: float) -> bool:
        try:
            return await self._database.change([(sql.IDENTIFY, {"user": user, "now": now, **asdict(identity)})])
        except Taken:
            found = await self.by_identity(identity)
            return found is not None and found.id == user

    async def all(self) -> list[tuple[UserRecord, list[str]]]:
        def work(connection: Connection) -> list[tuple[UserRecord, list[str]]]:
            providers: dict[str, list[str]] = {}
            for user, provider in connection.execute(sql.IDENTITIES):
                providers.setdefault(user, []).append(provider)
            records = [_record(row) for row in connection.execute(sql.ALL)]
            return [(record, providers.get(record.id, [])) for record in records]

        return await self._database.read(work)

    async def change(self, id: str, role: Role | None, disabled: bool | None, group: str | None) -> UserRecord | None:
        def work(connection: Connection) -> UserRecord | None:
            connection.execute(sql.LOCK_ADMINS)  # of two administrators who remove each other, one is too late
            row = connection.execute(sql.BY_ID, {"id": id}).one_or_none()
            if row is None:
                return None
            now = _record(row)
            wanted = {
                "id": id,
                "role": now.role if role is None else role,
                "disabled": now.disabled if disabled is None else disabled,
                "group": now.group if group is None else group,
            }
            if not connection.execute(sql.CHANGE, wanted).rowcount:
                return None
            return _record(connection.execute(sql.BY_ID, {"id": id}).one())

        return await self._database.write(work)

    async def seen(self, id: str, now: float) -> None:
        await self._database.change([(sql.SEEN, {"id": id, "now": now})])

    async def set_password(self, id: str, old: str | None, password: str) -> bool:
        statement = sql.SET_FIRST_PASSWORD if old is None else sql.SET_PASSWORD
        values = {"id": id, "old": old, "password": password}
        return await self._database.change([(statement, values), (sql.FORGET_RESET, {"user": id})])

    async def offer_reset(self, user: str, hash: str, expires_at: float) -> None:
        await self._database.change([(sql.OFFER_RESET, {"user": user, "hash": hash, "expires_at": expires_at})])

    async def reset(self, hash: str, password: str, now: float) -> str | None:
        def work(connection: Connection) -> str | None:
            user: str | None = connection.execute(sql.USE_RESET, {"hash": hash, "now": now}).scalar_one_or_none()
            if user is not None:
                connection.execute(sql.RESET_PASSWORD, {"id": user, "password": password})
            return user

        return await self._database.write(work)

    async def invite(self, invite: InviteRecord, hash: str) -> None:
        await self._database.change([(sql.INVITE, {**asdict(invite), "hash": hash})])

    async def invitation(self, hash: str, now: float) -> InviteRecord | None:
        rows = await self._database.find(sql.INVITATION, {"hash": hash, "now": now})
        return InviteRecord(*rows[0]) if rows else None

    async def invitations(self, now: float) -> list[InviteRecord]:
        return [InviteRecord(*row) for row in await self._database.find(sql.INVITATIONS, {"now": now})]

    async def withdraw(self, id: str) -> bool:
        return await self._database.change([(sql.WITHDRAW, {"id": id})])

    async def _one(self, statement: TextClause, values: Values) -> UserRecord | None:
        rows = await self._database.find(statement, values)
        return _record(rows[0]) if rows else None

    async def _why_taken(self, user: UserRecord, founder: bool) -> Added:
        if await self.by_email(user.email) is not None:
            return "email_taken"
        return "not_first" if founder else "identity_taken"


def _record(row: Sequence[Any]) -> UserRecord:
    id, email, name, role, group, password, disabled, created_at, seen_at = row
    return UserRecord(id, email, name, role, group, password, bool(disabled), created_at, seen_at)
