"""What administrators do to accounts. Everything is written down."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.accounts import InviteRecord, UserRecord
from orchestrator.audit import audit
from orchestrator.errors import NotFound, Taken
from orchestrator.users.principal import Principal
from orchestrator.users.schemas import (
    ChangeUser,
    InviteLine,
    InviteList,
    MadeInvite,
    MakeInvite,
    ResetLink,
    UserLine,
    UserList,
)
from orchestrator.users.secret import digest, fresh, new_id
from orchestrator.users.service import Service
from orchestrator.users.sessions import News

RESET_S = 24 * 3600.0
LAST_ADMIN = "That would leave nobody who can administer this server. Make somebody else an administrator first."


class Administration:
    """`who` is an administrator. Methods raise `NotFound`."""

    def __init__(self, service: Service, clock: Callable[[], float]) -> None:
        self._service = service
        self._users = service.accounts.users
        self._clock = clock

    async def users(self) -> UserList:
        return UserList(users=[_user(record, providers) for record, providers in await self._users.all()])

    async def change(self, who: Principal, id: str, change: ChangeUser) -> UserLine:
        """Raises `Taken` when nobody would be left to administer."""
        before = await self._service.user(id)
        after = await self._users.change(id, change.role, change.disabled, change.group)
        if after is None:
            raise Taken(LAST_ADMIN)
        if after.disabled and not before.disabled:
            await self._service.accounts.keys.end_sessions(id, "")
        over = after.disabled
        await self._service.sessions.tell(News(id, over=over))  # what is remembered of them has their role in it
        await self._note_change(who, before, after)
        return next(_user(record, providers) for record, providers in await self._users.all() if record.id == id)

    async def offer_reset(self, who: Principal, id: str, base: str) -> ResetLink:
        """A link that sets a new password, once."""
        user = await self._service.user(id)
        secret = fresh()
        expires_at = self._clock() + RESET_S
        await self._users.offer_reset(user.id, digest(secret), expires_at)
        await audit(self._service.accounts.audit, who.user, "password.reset_offered", user.id)
        return ResetLink(link=f"{base}/#reset={secret}", expires_at=expires_at)

    async def invitations(self) -> InviteList:
        names = {record.id: record.name for record, _ in await self._users.all()}
        records = await self._users.invitations(self._clock())
        return InviteList(invites=[_invite(record, names) for record in records])

    async def invite(self, who: Principal, wanted: MakeInvite, base: str) -> MadeInvite:
        now = self._clock()
        secret = fresh()
        record = InviteRecord(
            new_id(), wanted.email or "", wanted.role, wanted.group, who.user, now, now + wanted.days * 86400
        )
        await self._users.invite(record, digest(secret))
        await audit(self._service.accounts.audit, who.user, "invite.made", record.id, role=wanted.role)
        return MadeInvite(link=f"{base}/#invite={secret}", line=_invite(record, {who.user: who.name}))

    async def withdraw(self, who: Principal, id: str) -> None:
        if not await self._users.withdraw(id):
            raise NotFound("There is no such invitation that waits. It may have been used.")
        await audit(self._service.accounts.audit, who.user, "invite.withdrawn", id)

    async def _note_change(self, who: Principal, before: UserRecord, after: UserRecord) -> None:
        to = self._service.accounts.audit
        if before.role != after.role:
            await audit(to, who.user, "user.role_changed", after.id, role=after.role)
        if before.disabled != after.disabled:
            await audit(to, who.user, "user.disabled" if after.disabled else "user.enabled", after.id)
        if before.group != after.group:
            await audit(to, who.user, "user.group_changed", after.id, group=after.group)


def _user(record: UserRecord, providers: list[str]) -> UserLine:
    return UserLine(
        id=record.id, name=record.name, email=record.email, role=record.role, group=record.group,
        disabled=record.disabled, has_password=record.password is not None, providers=providers,
        created_at=record.created_at, seen_at=record.seen_at,
    )  # fmt: skip


def _invite(record: InviteRecord, names: dict[str, str]) -> InviteLine:
    used_by = None if record.used_by is None else names.get(record.used_by, "")
    return InviteLine(
        id=record.id, email=record.email, role=record.role, group=record.group, made_by=names.get(record.made_by, ""),
        created_at=record.created_at, expires_at=record.expires_at, used_by=used_by,
    )  # fmt: skip
