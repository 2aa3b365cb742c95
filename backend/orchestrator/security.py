"""Who may talk to this server at all.

It runs code, so another web page must not reach it. On every request and websocket:

- Host: the name must be one we answer to (a page of another origin that rebinds its DNS name to us sends its own name);
- Origin and Sec-Fetch-Site: where a browser says that a page of another origin asks, the answer is 403 (RFC 6454,
  W3C Fetch Metadata). No CORS header is ever sent;
- who it is. Without accounts that is `OnlyYou`: a same-site session cookie, given by the page itself, for /api and /ws.
  Programs that are not browsers (the `codeact` command, the OpenAI client) send no Origin; /v1 lets them in, /api and /ws
  want the session token as a bearer token. With accounts, it is `users/door.py`.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.errors import CodeActError
from orchestrator.protocol.frames import CloseCode
from orchestrator.users.principal import LOCAL, put

log = logging.getLogger(__name__)

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
COOKIE = "codeact_session"
GUARDED = ("/api", "/ws")
ERRORS = {401: "Unauthenticated", 403: "forbidden", 411: "length_required", 413: "too_large", 415: "unsupported_media_type"}

PAGE_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; frame-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""Scripts and styles only ever come from our files; what a script sets of an element's `style` is not an inline style."""

FRAME_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; media-src data: blob:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)
"""For the page that shows HTML outputs: an opaque origin that can run what it was given and reach nothing."""


def session_token(path: Path) -> str:
    """The token in `path`, made (0600) when there is none: it outlives restarts, so that open pages go on working."""
    try:
        token = path.read_text().strip()
        if len(token) >= 32:
            return token
    except FileNotFoundError:
        pass
    token = secrets.token_urlsafe(32)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(token)
    return token


@dataclass(frozen=True, slots=True)
class Refusal:
    """`why` goes on after "Refused: "."""

    status: int
    why: str


class Guard:
    """ASGI middleware around the whole app: Host and Origin, then whatever a kind of server wants to know. Refusals are
    logged."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str], public_url: str = "") -> None:
        self._app = app
        self._public = urlsplit(public_url.lower())
        public = {self._public.hostname} if self._public.hostname else set()
        self._hosts = LOOPBACK | {host.lower() for host in hosts} | public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        headers = Headers(scope=scope)
        answer = self._sealed(scope, send) if scope["type"] == "http" else send
        try:
            refusal = self._stranger(scope, headers) or await self._admit(scope, headers)
        except CodeActError as error:
            return await _answer(scope, receive, answer, error.status, type(error).__name__, error.words)
        if refusal is None:
            return await self._app(scope, receive, answer)
        level = logging.INFO if refusal.status == 401 else logging.WARNING  # everybody is a stranger once
        log.log(level, "refused %s %r: %s (Host %r, Origin %r)", scope["type"], scope["path"][:200], refusal.why,
                headers.get("host"), headers.get("origin"))  # fmt: skip
        words = refusal.why if refusal.status == 401 else f"Refused: {refusal.why}."
        return await _answer(scope, receive, answer, refusal.status, ERRORS.get(refusal.status, "forbidden"), words)

    async def _admit(self, scope: Scope, headers: Headers) -> Refusal | None:
        """Put the principal into the scope, or say why not. May raise what the store raises."""
        raise NotImplementedError

    def _dress(self, scope: Scope, headers: MutableHeaders) -> None:
        """Add headers to an answer."""

    def _any_name(self, scope: Scope) -> bool:
        """Whether this may be asked for under any name."""
        return False

    def _comes_back(self, scope: Scope) -> bool:
        """Whether this is where another site sends people back to."""
        return False

    def _stranger(self, scope: Scope, headers: Headers) -> Refusal | None:
        host = headers.get("host", "")
        if _name(host) not in self._hosts and not self._any_name(scope):
            return Refusal(403, "this server does not answer to that name; open it as http://localhost, or set "
                                "CODEACT_ALLOWED_HOSTS")  # fmt: skip
        origin = headers.get("origin")
        if origin is not None and not self._same_origin(origin, host):
            return Refusal(403, "a page of another origin may not use this server")
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not self._is_navigation(scope, headers):
            return Refusal(403, "a page of another site may not use this server")
        return None

    def _same_origin(self, origin: str, host: str) -> bool:
        """Behind TLS that ends before us, the scheme shows in `public_url` alone."""
        try:
            parts = urlsplit(origin.lower())
        except ValueError:
            return False
        schemes = (self._public.scheme,) if self._public.netloc == host.lower() else ("http", "https")
        return parts.scheme in schemes and parts.netloc == host.lower()

    def _is_navigation(self, scope: Scope, headers: Headers) -> bool:
        """A link on another site that opens the chat's page: harmless, the page itself asks for everything else."""
        return (
            scope["type"] == "http"
            and scope["method"] == "GET"
            and headers.get("sec-fetch-mode") == "navigate"
            and headers.get("sec-fetch-dest") == "document"
            and (not scope["path"].startswith(("/api", "/v1", "/ws")) or self._comes_back(scope))
        )

    def _sealed(self, scope: Scope, send: Send) -> Send:
        """Adds the headers that every answer has."""

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
                headers["Cross-Origin-Resource-Policy"] = "same-origin"
                framed = scope["path"] == "/frame.html"
                headers["Content-Security-Policy"] = FRAME_POLICY if framed else PAGE_POLICY
                if _is_page(scope, headers):
                    headers["Cross-Origin-Opener-Policy"] = "same-origin"
                self._dress(scope, headers)
            await send(message)

        return sealed


class OnlyYou(Guard):
    """A server without accounts: whoever gets here is the one person it is for."""

    def __init__(self, app: ASGIApp, token: str, hosts: Iterable[str]) -> None:
        super().__init__(app, hosts)
        self._token = token

    async def _admit(self, scope: Scope, headers: Headers) -> Refusal | None:
        if any(under(scope["path"], prefix) for prefix in GUARDED) and not self._known(headers):
            return Refusal(403, "no session; open the chat at its own address first")
        put(scope, LOCAL)
        return None

    def _known(self, headers: Headers) -> bool:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else cookie(headers, COOKIE)
        return hmac.compare_digest(given.encode(), self._token.encode())

    def _dress(self, scope: Scope, headers: MutableHeaders) -> None:
        if _is_page(scope, headers):
            headers.append("Set-Cookie", f"{COOKIE}={self._token}; Path=/; HttpOnly; SameSite=Strict")


def _name(host: str) -> str:
    """The host's name without port, lower case; IPv6 without brackets."""
    return (urlsplit(f"//{host}").hostname or "").lower() if "@" not in host else ""


def _is_page(scope: Scope, headers: MutableHeaders) -> bool:
    return headers.get("content-type", "").startswith("text/html") and scope["path"] != "/frame.html"


def under(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix + "/")


def cookie(headers: Headers, name: str) -> str:
    """Its value; empty when there is none."""
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


async def _answer(scope: Scope, receive: Receive, send: Send, status: int, error: str, words: str) -> None:
    """A websocket that is refused because nobody is signed in is opened and closed with a code of ours, since a page hears
    no other reason; all else is answered as HTTP 403."""
    if scope["type"] == "http":
        more = {"WWW-Authenticate": "Bearer"} if status == 401 else None
        if under(scope["path"], "/v1"):
            kind = {"message": words, "type": "invalid_request_error", "param": None, "code": error}
            return await JSONResponse({"error": kind}, status, more)(scope, receive, send)
        return await JSONResponse({"error": error, "detail": words}, status, more)(scope, receive, send)
    await receive()  # websocket.connect
    if status == 401:
        await send({"type": "websocket.accept"})
    code = CloseCode.SIGNED_OUT if status == 401 else CloseCode.FORBIDDEN
    return await send({"type": "websocket.close", "code": code, "reason": words[:120]})
