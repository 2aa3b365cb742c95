"""An OpenID provider, as a client sees it (OpenID Connect Core 1.0, authorization code flow with PKCE).

Signatures, keys and algorithms are joserfc's affair. HTTP is aiohttp's, which is here anyway; a library that does the whole
flow would bring a second HTTP client and keep its state in a cookie, where it could be taken up twice.
"""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import aiohttp

from orchestrator.errors import BadSetting
from orchestrator.users.oidc_token import Untrusted, checked, key_set
from orchestrator.users.secret import digest

if TYPE_CHECKING:
    from joserfc.jwk import KeySet

log = logging.getLogger(__name__)

HTTP_S = 10.0
MOST_BYTES = 1 << 20
FRESH_S = 3600.0
"""How long what the provider says of itself is believed."""
KEYS_AGAIN_S = 30.0
"""A key that is not known may be new; more often than this it is not asked for."""


@dataclass(frozen=True, slots=True)
class Config:
    id: str
    label: str
    issuer: str
    client_id: str
    client_secret: str
    scopes: str


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whom the provider has let go. `subject`: who they are there, for ever."""

    subject: str
    email: str
    name: str


class Provider:
    """Methods raise `Untrusted` with words for the log. Raises `BadSetting` when its address is not https."""

    def __init__(self, config: Config, clock: Callable[[], float]) -> None:
        parts = urlsplit(config.issuer)
        self._local = parts.hostname in ("localhost", "127.0.0.1", "::1")
        if not config.client_id or not (parts.scheme == "https" or (parts.scheme == "http" and self._local)):
            raise BadSetting("CODEACT_OIDC_ISSUER must begin with https:// and CODEACT_OIDC_CLIENT_ID must be set.")
        self.config = config
        self._clock = clock
        self._http: aiohttp.ClientSession | None = None
        self._about: tuple[dict[str, Any], float] | None = None
        self._keys: tuple[KeySet, float] | None = None

    async def address(self, state: str, nonce: str, verifier_hash: str, back: str) -> str:
        """Where to send somebody to."""
        asked = {
            "response_type": "code", "client_id": self.config.client_id, "redirect_uri": back, "scope": self.config.scopes,
            "state": state, "nonce": nonce, "code_challenge": verifier_hash, "code_challenge_method": "S256",
        }  # fmt: skip
        place = self._place(await self._discovered(), "authorization_endpoint")
        return f"{place}{'&' if urlsplit(place).query else '?'}{urlencode(asked)}"

    async def visitor(self, code: str, verifier: str, nonce_hash: str, back: str) -> Visitor:
        """Whoever came back with `code`."""
        about = await self._discovered()
        answer = await self._redeemed(about, code, verifier, back)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise Untrusted("the provider gave no ID token")
        claims = await self._verified(about, token)
        if not hmac.compare_digest(digest(str(claims.get("nonce", ""))), nonce_hash):
            raise Untrusted("the ID token is for another sign-in (nonce)")
        if "email" not in claims:
            claims = {**await self._userinfo(about, answer, str(claims["sub"])), **claims}
        name = _text(claims, "name") or _text(claims, "preferred_username")
        return Visitor(_text(claims, "sub"), _text(claims, "email"), name)

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()

    async def _redeemed(self, about: dict[str, Any], code: str, verifier: str, back: str) -> dict[str, Any]:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": back, "code_verifier": verifier}
        id, secret = self.config.client_id, self.config.client_secret
        headers: dict[str, str] = {}
        if secret and "client_secret_basic" in about.get("token_endpoint_auth_methods_supported", ["client_secret_basic"]):
            headers["Authorization"] = aiohttp.encode_basic_auth(quote(id, safe=""), quote(secret, safe=""))
        else:
            form |= {"client_id": id, **({"client_secret": secret} if secret else {})}
        return await self._fetch("POST", self._place(about, "token_endpoint"), data=form, headers=headers)

    async def _verified(self, about: dict[str, Any], token: str) -> dict[str, Any]:
        keys, since = await self._known_keys(about)
        try:
            return checked(token, keys, self.config.issuer, self.config.client_id, self._clock())
        except KeyError:
            if self._clock() - since < KEYS_AGAIN_S:
                raise Untrusted("the ID token is signed with a key that the provider does not list") from None
        self._keys = None
        keys, _ = await self._known_keys(about)
        try:
            return checked(token, keys, self.config.issuer, self.config.client_id, self._clock())
        except KeyError:
            raise Untrusted("the ID token is signed with a key that the provider does not list") from None

    async def _userinfo(self, about: dict[str, Any], answer: dict[str, Any], subject: str) -> dict[str, Any]:
        if "userinfo_endpoint" not in about or not isinstance(answer.get("access_token"), str):
            return {}
        headers = {"Authorization": f"Bearer {answer['access_token']}"}
        info = await self._fetch("GET", self._place(about, "userinfo_endpoint"), headers=headers)
        if info.get("sub") != subject:
            raise Untrusted("the provider's user info is about somebody else")
        return info

    async def _discovered(self) -> dict[str, Any]:
        if self._about is not None and self._clock() - self._about[1] < FRESH_S:
            return self._about[0]
        about = await self._fetch("GET", self.config.issuer.rstrip("/") + "/.well-known/openid-configuration")
        if about.get("issuer") != self.config.issuer:
            raise Untrusted(f"the provider calls itself {about.get('issuer')!r}, and CODEACT_OIDC_ISSUER does not")
        self._about = (about, self._clock())
        return about

    async def _known_keys(self, about: dict[str, Any]) -> tuple[KeySet, float]:
        if self._keys is None or self._clock() - self._keys[1] >= FRESH_S:
            self._keys = (key_set(await self._fetch("GET", self._place(about, "jwks_uri"))), self._clock())
        return self._keys

    def _place(self, about: dict[str, Any], name: str) -> str:
        place = str(about.get(name, ""))
        if not place.startswith("https://") and not (self._local and place.startswith("http://")):
            raise Untrusted(f"the provider's {name} is {place!r}, which is not https")
        return place

    async def _fetch(self, method: str, place: str, **more: Any) -> dict[str, Any]:
        if self._http is None:
            self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=HTTP_S))
        try:
            async with self._http.request(method, place, allow_redirects=False, **more) as answer:
                body = await answer.content.read(MOST_BYTES)
                status = answer.status
            found = json.loads(body) if status == 200 else None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise Untrusted(f"{place} does not answer as it should: {type(error).__name__} {error}") from error
        if not isinstance(found, dict):
            raise Untrusted(f"{place} answered with HTTP status {status}")
        return found


def _text(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name)
    return value if isinstance(value, str) else ""
