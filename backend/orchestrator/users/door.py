"""In front of everything on a server with accounts: who asks, and whether they may ask for this at all.

What a route is for shows in its address, so one that is added later is closed to strangers, closed to tokens, and under
`/api/admin` closed to all but administrators, before anybody thinks of it. Whose a conversation is, the features know.
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Scope

from orchestrator.security import Guard, Refusal, cookie, under
from orchestrator.users.principal import CHAT, READ, Principal, put
from orchestrator.users.secret import TOKEN
from orchestrator.users.sessions import LONGEST_S

OPEN = frozenset({"/api/auth/state", "/api/auth/login", "/api/auth/logout", "/api/auth/register", "/api/auth/reset"})
OPEN_UNDER = ("/api/auth/oidc",)
CLOSED_UNDER = ("/api", "/v1", "/ws")
TOKENS_UNDER = ("/v1", "/ws", "/api/conversations", "/api/quota", "/api/auth/state")
PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked for by what runs us, under whatever name it knows."""

READING = frozenset({"GET", "HEAD", "OPTIONS"})
FORMS = frozenset({"", "text/plain", "multipart/form-data", "application/x-www-form-urlencoded"})
"""What a form of another page could send (and a body without a type, which a script could)."""

MOST_BYTES = 64 * 1024
"""Of a body that is about accounts."""

NOT_SIGNED_IN = "You are not signed in. Sign in, then try again."
NO_TOKEN = "That token does not hold: it was removed, has expired, or is not whole. Make a new one on the page."  # noqa: S105


@dataclass(frozen=True, slots=True)
class Address:
    """Where people find this server: `public_url` as the operator has set it, or empty."""

    public_url: str

    def secure(self, scope: Scope) -> bool:
        """Whether the browser sees TLS."""
        return self.public_url.startswith("https:") if self.public_url else scope["scheme"] in ("https", "wss")

    def base(self, scope: Scope) -> str:
        """Begins links to the page. Host was checked before."""
        host = Headers(scope=scope).get("host", "")
        return self.public_url.rstrip("/") or f"{'https' if self.secure(scope) else 'http'}://{host}"


def cookie_name(secure: bool) -> str:
    """`__Host-`: browsers take it from this very host alone, not from a neighbour under the same domain."""
    return "__Host-codeact" if secure else "codeact_login"


def session_cookie(secret: str, secure: bool) -> str:
    """The value of a Set-Cookie header; an empty secret removes it."""
    age = int(LONGEST_S) if secret else 0
    rest = f"Path=/; Max-Age={age}; HttpOnly; SameSite=Strict"
    return f"{cookie_name(secure)}={secret}; {rest}{'; Secure' if secure else ''}"


def visit_cookie_name(secure: bool) -> str:
    return "__Host-codeact-visit" if secure else "codeact_visit"


def visit_cookie(secret: str, secure: bool) -> str:
    """Of a browser that is at a provider. `Lax`, since another site sends it back."""
    rest = f"Path=/; Max-Age={600 if secret else 0}; HttpOnly; SameSite=Lax"
    return f"{visit_cookie_name(secure)}={secret}; {rest}{'; Secure' if secure else ''}"


class SignedIn(Guard):
    """ASGI middleware around the whole app. Refusals: 401, 403, 411, 413, 415."""

    def __init__(self, app: ASGIApp, hosts: list[str], address: Address) -> None:
        super().__init__(app, hosts, address.public_url)
        self._address = address

    def _any_name(self, scope: Scope) -> bool:
        return scope["type"] == "http" and scope["path"] in PROBES

    def _comes_back(self, scope: Scope) -> bool:
        path: str = scope["path"]
        return under(path, "/api/auth/oidc") and path.endswith("/callback")

    async def _admit(self, scope: Scope, headers: Headers) -> Refusal | None:
        path: str = scope["path"]
        if not any(under(path, prefix) for prefix in CLOSED_UNDER):
            return None
        if scope["type"] == "http" and under(path, "/api") and _is_form(scope, headers):
            return Refusal(415, "the body must be JSON (Content-Type: application/json)")
        if scope["type"] == "http" and (refusal := _too_much(path, headers)):
            return refusal
        bearer = _bearer(headers)
        secret = bearer or cookie(headers, cookie_name(self._address.secure(scope)))
        if bool(bearer) != secret.startswith(TOKEN):  # sessions are for cookies, tokens for programs
            secret = ""
        principal = await scope["app"].state.people.sessions.principal(secret) if secret else None
        if principal is not None:
            put(scope, principal)
            return _not_allowed(principal, scope)
        if path in OPEN or any(under(path, prefix) for prefix in OPEN_UNDER):
            return None
        return Refusal(401, NO_TOKEN if bearer else NOT_SIGNED_IN)

    def _dress(self, scope: Scope, headers: MutableHeaders) -> None:
        if under(scope["path"], "/api") and "cache-control" not in headers:
            headers["Cache-Control"] = "no-store"
        if self._address.public_url.startswith("https:"):
            headers["Strict-Transport-Security"] = "max-age=31536000"


def _not_allowed(principal: Principal, scope: Scope) -> Refusal | None:
    path: str = scope["path"]
    if principal.how == "token":
        if not any(under(path, prefix) for prefix in TOKENS_UNDER):
            return Refusal(403, "a token cannot do that; sign in on the page instead")
        wanted = {READ, CHAT} if scope["type"] == "websocket" or scope["method"] in READING else {CHAT}
        if not wanted & principal.scopes:
            return Refusal(403, "this token may only read; make one with the scope chat")
    if under(path, "/api/admin") and principal.role != "admin":
        return Refusal(403, "only an administrator can do that; ask one of yours")
    return None


def _is_form(scope: Scope, headers: Headers) -> bool:
    if scope["method"] in READING or (headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers):
        return False
    return headers.get("content-type", "").partition(";")[0].strip().lower() in FORMS


def _too_much(path: str, headers: Headers) -> Refusal | None:
    """Of what strangers can make us read. The size is known beforehand, or it is not read."""
    if not (under(path, "/api/auth") or under(path, "/api/admin")):
        return None
    if "transfer-encoding" in headers:
        return Refusal(411, "the length of the body must be said beforehand (Content-Length)")
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MOST_BYTES:
        return Refusal(413, f"the body is larger than {MOST_BYTES // 1024} KiB")
    return None


def _bearer(headers: Headers) -> str:
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""
