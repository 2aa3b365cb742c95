"""Signing in and out, registering, passwords. What cookies and addresses are is the endpoints' affair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.accounts import Accounts, Identity, Role, UserRecord
from orchestrator.audit import Detail, audit
from orchestrator.errors import Forbidden, Invalid, NotFound, Taken, Unauthenticated
from orchestrator.users.passwords import Passwords
from orchestrator.users.principal import Principal
from orchestrator.users.schemas import Registration
from orchestrator.users.secret import digest, new_id
from orchestrator.users.sessions import Sessions
from orchestrator.users.throttle import Throttle

WRONG = "That e-mail address and password do not belong together. Try again, or ask an administrator for a new password."
DISABLED = "This account is disabled. Ask an administrator."
CLOSED = "Nobody can register here. Ask an administrator for an invitation."
NOT_INVITED = "This invitation is not for that address, was used, or is too old. Ask for a new one."


@dataclass(frozen=True, slots=True)
class Client:
    """The other end: its address as far as it is known, and what its browser calls itself."""

    address: str
    agent: str


@dataclass(frozen=True, slots=True)
class Newcomer:
    email: str
    name: str
    invite: str = ""  # the hash of an invitation's secret
    vouched: bool = False  # by a provider whose word the operator takes


class Service:
    """Methods raise `StoreUnavailable` and what they say. `clock`: Unix seconds."""

    def __init__(
        self, accounts: Accounts, sessions: Sessions, passwords: Passwords, throttle: Throttle,
        registration: Registration, clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self.accounts = accounts
        self.sessions = sessions
        self._passwords = passwords
        self._throttle = throttle
        self._registration = registration
        self._clock = clock
        self._begun = False

    async def registration(self) -> Registration:
        """`first` while there is nobody."""
        self._begun = self._begun or await self.accounts.users.any()
        return self._registration if self._begun else "first"

    async def user(self, id: str) -> UserRecord:
        """Raises `NotFound`."""
        user = await self.accounts.users.by_id(id)
        if user is None:
            raise NotFound("There is no such user.")
        return user

    async def register(self, newcomer: Newcomer, password: str, client: Client) -> str:
        """The secret of a session. Raises `Forbidden`, `Taken`, `Invalid`, `TooMany`."""
        await self._throttle.making(client.address)
        _check_password(password, newcomer.email)
        await self.may_come(newcomer)  # before the work of hashing
        user = await self.add(newcomer, await self._passwords.hash(password), None)
        await self._throttle.made(client.address)
        return await self.sign_in(user, "password", client)

    async def sign_in_with(self, email: str, password: str, client: Client) -> str:
        """The secret of a session. Raises `Unauthenticated`, `Forbidden`, `TooMany`."""
        email = email.strip().lower()
        await self._throttle.sign_in(email, client.address)
        user = await self.accounts.users.by_email(email)
        verdict = await self._passwords.verify(user.password if user else None, password)
        if user is None or not verdict.right:
            await self.note("", "sign_in.failed", user.id if user else "", address=client.address)
            raise Unauthenticated(WRONG)
        await self._throttle.signed_in(email, client.address)
        if verdict.rehash:
            await self.accounts.users.set_password(user.id, user.password, await self._passwords.hash(password))
        return await self.sign_in(user, "password", client)

    async def sign_in(self, user: UserRecord, how: str, client: Client) -> str:
        """For somebody who has shown who they are. Always a new secret: one that was there before is never taken over.
        Raises `Forbidden`."""
        if user.disabled:
            await self.note(user.id, "sign_in.refused", user.id, address=client.address, why="disabled")
            raise Forbidden(DISABLED)
        await self.note(user.id, "sign_in.done", user.id, address=client.address, how=how)
        await self.accounts.users.seen(user.id, self._clock())
        return await self.sessions.begin(user.id, how, client.agent, client.address)

    async def sign_out(self, principal: Principal) -> None:
        await self.sessions.end(principal.user, principal.session)
        await self.note(principal.user, "sign_out.done", principal.user)

    async def change_password(self, principal: Principal, old: str, new: str, client: Client) -> str:
        """All other sessions end, and this one goes on with the secret that is returned. Raises `Unauthenticated`,
        `Invalid`, `Taken`, `TooMany`."""
        user = await self.user(principal.user)
        _check_password(new, user.email)
        if user.password is not None:
            await self._throttle.sign_in(user.email, client.address)
            if not (await self._passwords.verify(user.password, old)).right:
                await self.note(user.id, "password.refused", user.id, address=client.address)
                raise Invalid("The old password is not right. Try again.", "old")
            await self._throttle.signed_in(user.email, client.address)
        if not await self.accounts.users.set_password(user.id, user.password, await self._passwords.hash(new)):
            raise Taken("The password was changed at the same moment from elsewhere. Sign in with that one.")
        await self.note(user.id, "password.changed", user.id, address=client.address)
        await self.sessions.end_all(user.id, but=principal.session)
        return await self.sessions.rotate(principal)

    async def reset_password(self, secret: str, password: str, client: Client) -> str:
        """The secret of a session; all others end. Raises `Forbidden`, `Invalid`, `TooMany`."""
        await self._throttle.making(client.address)
        _check_password(password, "")
        id = await self.accounts.users.reset(digest(secret), await self._passwords.hash(password), self._clock())
        if id is None:
            raise Forbidden("This link was used, is too old, or is not whole. Ask an administrator for a new one.")
        await self._throttle.made(client.address)
        await self.note(id, "password.reset", id, address=client.address)
        await self.sessions.end_all(id)
        return await self.sign_in(await self.user(id), "password", client)

    # ---- newcomers -----------------------------------------------------------------------------------------------------

    async def may_come(self, newcomer: Newcomer) -> None:
        """Raises `Forbidden` where nobody new, or not this one, is let in."""
        registration = await self.registration()
        if newcomer.invite:
            if await self.accounts.users.invitation(newcomer.invite, self._clock()) is None:
                raise Forbidden(NOT_INVITED)
        elif registration in ("closed", "invite") and not newcomer.vouched:
            raise Forbidden(CLOSED)

    async def add(self, newcomer: Newcomer, password: str | None, identity: Identity | None) -> UserRecord:
        """Whoever is first becomes administrator. Raises `Forbidden`, `Taken`."""
        await self.may_come(newcomer)
        founder = await self.registration() == "first"
        role: Role = "admin" if founder else "user"
        group, invite = "", ""
        if newcomer.invite and not founder:
            invite = newcomer.invite
            invitation = await self.accounts.users.invitation(invite, self._clock())
            if invitation is None:
                raise Forbidden(NOT_INVITED)
            role, group = invitation.role, invitation.group
        user = UserRecord(new_id(), newcomer.email, newcomer.name, role, group, password, False, self._clock())
        match await self.accounts.users.add(user, founder=founder, invite=invite, identity=identity):
            case "added":
                await self.note(user.id, "user.registered", user.id, role=role, invited=bool(invite))
                return user
            case "not_first":  # somebody else was, a moment ago
                self._begun = True
                return await self.add(newcomer, password, identity)
            case "no_invite":
                raise Forbidden(NOT_INVITED)
            case "email_taken":
                raise Taken("There is an account with that e-mail address already. Sign in to it.")
            case "identity_taken":
                raise Taken("There is an account for you already. Sign in again.")

    async def note(self, actor: str, action: str, subject: str, **details: Detail) -> None:
        await audit(self.accounts.audit, actor, action, subject, **details)


def _check_password(password: str, email: str) -> None:
    """Raises `Invalid`. How long it is, the schema has seen to."""
    if len(set(password)) < 4 or (email and password.strip().lower() in (email, email.partition("@")[0])):
        raise Invalid("That password is too easy to guess. Take several words, or more different characters.", "password")
