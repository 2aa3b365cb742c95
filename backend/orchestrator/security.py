"""Only you: who may talk to this server while it has no accounts.

It runs code, so another web page must not reach it. Three checks, on every request and websocket:

- Host: the name must be one we answer to (a page of another origin that rebinds its DNS name to us sends its own name);
- Origin and Sec-Fetch-Site: where a browser says that a page of another origin asks, the answer is 403 (RFC 6454,
  W3C Fetch Metadata). No CORS header is ever sent;
- a same-site session cookie, given by the page itself, for /api and /ws. Programs that are not browsers (the `codeact`
  command, the OpenAI client) send no Origin; /v1 lets them in, /api and /ws want the session token as a bearer token.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.users.principal import LOCAL, put

log = logging.getLogger(__name__)

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
COOKIE = "codeact_session"
GUARDED = ("/api", "/ws")

PAGE_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; frame-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""Inline style attributes are allowed because typeset mathematics needs them; scripts only ever come from our files."""

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


class OnlyYou:
    """ASGI middleware around the whole app; refusals are 403 and logged."""

    def __init__(self, app: ASGIApp, token: str, hosts: Iterable[str]) -> None:
        self._app = app
        self._token = token
        self._hosts = LOOPBACK | {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        why = self._refusal(scope)
        if why is None:
            put(scope, LOCAL)
            answer = self._sealed(scope, send) if scope["type"] == "http" else send
            return await self._app(scope, receive, answer)
        headers = Headers(scope=scope)
        log.warning("refused %s %s: %s (Host %r, Origin %r)", scope["type"], scope["path"], why,
                    headers.get("host"), headers.get("origin"))  # fmt: skip
        return await _forbid(scope, receive, send, why)

    def _refusal(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if _name(host) not in self._hosts:
            return "this server does not answer to that name; open it as http://localhost, or set CODEACT_ALLOWED_HOSTS"
        origin = headers.get("origin")
        if origin is not None and not _same_origin(origin, host):
            return "a page of another origin may not use this server"
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not _is_navigation(scope, headers):
            return "a page of another site may not use this server"
        if _guarded(scope["path"]) and not self._known(headers):
            return "no session; open the chat at its own address first"
        return None

    def _known(self, headers: Headers) -> bool:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else _cookie(headers)
        return hmac.compare_digest(given.encode(), self._token.encode())

    def _sealed(self, scope: Scope, send: Send) -> Send:
        """Adds the headers every answer has, and the session cookie to pages."""

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
                headers["Cross-Origin-Resource-Policy"] = "same-origin"
                framed = scope["path"] == "/frame.html"
                headers["Content-Security-Policy"] = FRAME_POLICY if framed else PAGE_POLICY
                if headers.get("content-type", "").startswith("text/html") and not framed:
                    headers["Cross-Origin-Opener-Policy"] = "same-origin"
                    headers.append("Set-Cookie", f"{COOKIE}={self._token}; Path=/; HttpOnly; SameSite=Strict")
            await send(message)

        return sealed


def _name(host: str) -> str:
    """The host's name without port, lower case; IPv6 without brackets."""
    return (urlsplit(f"//{host}").hostname or "").lower() if "@" not in host else ""


def _same_origin(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def _is_navigation(scope: Scope, headers: Headers) -> bool:
    """A link on another site that opens the chat's page: harmless, the page itself asks for everything else."""
    return (
        scope["type"] == "http"
        and scope["method"] == "GET"
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
        and not scope["path"].startswith(("/api", "/v1", "/ws"))
    )


def _guarded(path: str) -> bool:
    return any(path == prefix or path.startswith(prefix + "/") for prefix in GUARDED)


def _cookie(headers: Headers) -> str:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


async def _forbid(scope: Scope, receive: Receive, send: Send, why: str) -> None:
    if scope["type"] == "http":
        await JSONResponse({"error": "forbidden", "detail": f"Refused: {why}."}, 403)(scope, receive, send)
        return
    await receive()  # websocket.connect; closing before accepting is answered to the client as HTTP 403
    await send({"type": "websocket.close", "code": 4403, "reason": why[:120]})
