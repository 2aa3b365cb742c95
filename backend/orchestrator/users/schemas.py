"""What the endpoints of accounts are sent and answer; `orchestrator.schema` makes TypeScript types of it.

Errors are `{"error", "detail"}` as everywhere: 401 nobody knows who asks (or the password is wrong), 403 not allowed, 404
no such thing or not yours, 409 taken, 422 malformed, 429 too many tries (with `Retry-After`).
"""

from __future__ import annotations

import unicodedata
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, StringConstraints

from orchestrator.protocol.base import Id, Value

Role = Literal["user", "admin"]
Scope = Literal["chat", "read"]
Registration = Literal["first", "closed", "open", "invite"]

PASSWORD_MIN, PASSWORD_MAX = 10, 1000
"""Characters. Long ones are what makes a password strong; the upper bound is against bodies that only cost us time."""


def _plain(text: str) -> str:
    """Raises ValueError for what could change how the text around it is shown (control and direction characters)."""
    if any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in text):
        raise ValueError("control characters are not allowed")
    return unicodedata.normalize("NFC", text)


def _address(text: str) -> str:
    """An e-mail address as it is compared and kept: lower case, without blanks around it. That it receives mail is not
    known; none is sent."""
    address = unicodedata.normalize("NFKC", text).strip().lower()
    name, at, domain = address.rpartition("@")
    odd = any(c.isspace() or not c.isprintable() or c in '<>()[]\\,;:"' for c in address)
    if not (name and at and domain) or "@" in name or odd:
        raise ValueError("that is not an e-mail address")
    return address


def _text(secret: SecretStr) -> SecretStr:
    """Raises ValueError for halves of surrogate pairs, which JSON can say and nothing can hash."""
    if any("\ud800" <= character <= "\udfff" for character in secret.get_secret_value()):
        raise ValueError("that is not text")
    return secret


Email = Annotated[str, Field(min_length=3, max_length=254), AfterValidator(_address)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), AfterValidator(_plain)]
Label = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), AfterValidator(_plain)]
Group = Annotated[str, StringConstraints(strip_whitespace=True, max_length=64), AfterValidator(_plain)]
NewPassword = Annotated[SecretStr, Field(min_length=PASSWORD_MIN, max_length=PASSWORD_MAX), AfterValidator(_text)]
Password = Annotated[SecretStr, Field(min_length=1, max_length=PASSWORD_MAX), AfterValidator(_text)]
Secret = Annotated[SecretStr, Field(min_length=1, max_length=200), AfterValidator(_text)]


# ---- signing in --------------------------------------------------------------------------------------------------------


class User(Value):
    id: Id
    name: str
    email: str
    role: Role


class OidcProvider(Value):
    """Somebody else who can say who people are. `GET /api/auth/oidc/{id}/start?return_to=/…` goes there, as a page, not a
    request; with an invitation, or to connect the provider to the account that is signed in, it is a POST (`Visit`)."""

    id: Id
    label: str


class AuthState(Value):
    """`GET /api/auth/state`, and the answer to whatever signs in. `registration`: `first` while there is nobody (whoever
    registers becomes admin), else what the operator has set. `user`: who is signed in."""

    mode: Literal["none", "accounts"]
    registration: Registration
    oidc: list[OidcProvider]
    user: User | None


class Register(Value):
    """`invite`: the secret of an invitation's link (what follows `#invite=`)."""

    email: Email
    name: Name
    password: NewPassword
    invite: Secret | None = None


class Login(Value):
    email: Annotated[str, Field(max_length=254)]
    password: Password


class ChangePassword(Value):
    """All other sessions end. `old` is left out by people who have only come from a provider until now."""

    old: Password | None = None
    new: NewPassword


class Reset(Value):
    """`token`: the secret of an administrator's link (what follows `#reset=`). Every session ends."""

    token: Secret
    password: NewPassword


class Visit(Value):
    """`return_to`: a page of ours. `invite`: as in `Register`. `connect`: from now on the provider opens this account."""

    return_to: Annotated[str, Field(max_length=500)] = "/"
    invite: Secret | None = None
    connect: bool = False


class Leave(Value):
    """Where the page is to go (`location.assign`)."""

    location: str


class SignInError(StrEnum):
    """Why coming back from a provider did not sign in: the page is opened at `/?sign_in_error=…`."""

    CANCELLED = "cancelled"  # they, or the provider, said no
    EXPIRED = "expired"  # took longer than ten minutes, came back twice, or to another browser
    FAILED = "failed"  # the provider does not answer, or what it says cannot be trusted; the log has the cause
    NO_ACCOUNT = "no_account"  # nobody new is let in; ask an administrator
    EMAIL_TAKEN = "email_taken"  # an account has that address: sign in to it with its password, then connect the provider
    CONNECTED_ELSEWHERE = "connected_elsewhere"  # what was to be connected opens another account already
    DISABLED = "disabled"


# ---- one's own account -------------------------------------------------------------------------------------------------


class SessionLine(Value):
    """A browser that is signed in. `how`: `password`, or `oidc:` and the provider. `current`: the one that asks."""

    id: Id
    how: str
    agent: str
    address: str
    created_at: float
    seen_at: float
    expires_at: float
    current: bool


class SessionList(Value):
    sessions: list[SessionLine]


class MakeToken(Value):
    """`days`: until it expires; null for never."""

    label: Label
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=2)]
    days: Annotated[int, Field(ge=1, le=3650)] | None = None


class TokenLine(Value):
    """`begins`: its first characters."""

    id: Id
    label: str
    begins: str
    scopes: list[Scope]
    created_at: float
    used_at: float | None
    expires_at: float | None


class MadeToken(Value):
    """`token` is shown this once."""

    token: str
    line: TokenLine


class TokenList(Value):
    tokens: list[TokenLine]


# ---- administration ----------------------------------------------------------------------------------------------------


class UserLine(Value):
    """`seen_at`: when they last signed in. `providers`: ids of those they come from."""

    id: Id
    name: str
    email: str
    role: Role
    group: str
    disabled: bool
    has_password: bool
    providers: list[str]
    created_at: float
    seen_at: float | None


class UserList(Value):
    users: list[UserLine]


class ChangeUser(Value):
    """What is null stays as it is."""

    role: Role | None = None
    disabled: bool | None = None
    group: Group | None = None


class ResetLink(Value):
    """Opens the page at `/#reset=SECRET`, once, until it expires."""

    link: str
    expires_at: float


class MakeInvite(Value):
    """For `email` alone, or for whoever has the link. `role` and `group` are what they get."""

    email: Email | None = None
    role: Role = "user"
    group: Group = ""
    days: Annotated[int, Field(ge=1, le=90)] = 7


class InviteLine(Value):
    """`made_by`, `used_by`: names of users; `used_by` null while it waits."""

    id: Id
    email: str
    role: Role
    group: str
    made_by: str
    created_at: float
    expires_at: float
    used_by: str | None


class MadeInvite(Value):
    """`link` opens the page at `/#invite=SECRET` and is shown this once."""

    link: str
    line: InviteLine


class InviteList(Value):
    invites: list[InviteLine]


MODELS: tuple[type[Value], ...] = (
    AuthState, Register, Login, ChangePassword, Reset, Visit, Leave, SessionList, MakeToken, MadeToken, TokenList,
    UserLine, UserList, ChangeUser, ResetLink, MakeInvite, MadeInvite, InviteList,
)  # fmt: skip
