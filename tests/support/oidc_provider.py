"""An OpenID provider for tests: a process of its own with real discovery, keys, PKCE and signed ID tokens, that can be told
to misbehave. `python -m tests.support.oidc_provider` prints its issuer.

Signs with PyJWT, while the product verifies with joserfc: neither can agree with its own mistakes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import sys
import time
from typing import Any
from urllib.parse import unquote, urlencode

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT, SECRET = "codeact", "a secret: with / and +"


class Provider:
    """`user` is who is signed in there; `twist` changes what is answered, see `_token`."""

    def __init__(self) -> None:
        self.issuer = ""
        self.user: dict[str, Any] = {"sub": "ann-1", "email": "ann@example.org", "email_verified": True, "name": "Ann"}
        self.twist: dict[str, Any] = {}
        self.grants: dict[str, dict[str, str]] = {}
        self.fetched = 0  # how often the keys were asked for
        self.rotate()

    def rotate(self) -> None:
        self.kid = secrets.token_hex(4)
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self.configuration)
        app.router.add_get("/keys", self.keys)
        app.router.add_get("/authorize", self.authorize)
        app.router.add_post("/token", self.token)
        app.router.add_get("/userinfo", self.userinfo)
        app.router.add_post("/control", self.control)
        return app

    async def configuration(self, _: web.Request) -> web.Response:
        base = self.issuer
        about = {
            "issuer": base, "authorization_endpoint": f"{base}/authorize", "token_endpoint": f"{base}/token",
            "jwks_uri": f"{base}/keys", "userinfo_endpoint": f"{base}/userinfo", "response_types_supported": ["code"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        }  # fmt: skip
        return web.json_response(about | self.twist.get("configuration", {}))

    async def keys(self, _: web.Request) -> web.Response:
        self.fetched += 1
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        other = {"kty": "RSA", "use": "enc", "kid": "enc", "n": public["n"], "e": public["e"]}
        odd = {"kty": "new", "kid": "odd"}
        return web.json_response({"keys": [odd, other, {**public, "kid": self.kid, "use": "sig", "alg": "RS256"}]})

    async def authorize(self, request: web.Request) -> web.Response:
        """Whoever is signed in here agrees at once."""
        asked = dict(request.query)
        assert asked["client_id"] == CLIENT and asked["response_type"] == "code" and "openid" in asked["scope"].split()
        assert asked["code_challenge_method"] == "S256" and len(asked["nonce"]) >= 32 and len(asked["state"]) >= 32
        if "error" in self.twist:
            answer = {"error": self.twist["error"], "state": asked["state"]}
        else:
            code = secrets.token_urlsafe(16)
            self.grants[code] = asked
            answer = {"code": code, "state": asked["state"], "iss": self.twist.get("iss", self.issuer)}
        raise web.HTTPFound(f"{asked['redirect_uri']}?{urlencode(answer)}")

    async def token(self, request: web.Request) -> web.Response:
        form = await request.post()
        login, _, password = (
            base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode().partition(":")
        )
        asked = self.grants.pop(str(form["code"]), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(str(form["code_verifier"]).encode()).digest()).rstrip(b"=")
        if (
            (unquote(login), unquote(password)) != (CLIENT, SECRET)
            or asked is None
            or asked["redirect_uri"] != form["redirect_uri"]
            or asked["code_challenge"] != challenge.decode()
            or "token_status" in self.twist
        ):
            return web.json_response({"error": "invalid_grant"}, status=self.twist.get("token_status", 400))
        return web.json_response({"access_token": "access", "token_type": "Bearer", "id_token": self._token(asked)})

    def _token(self, asked: dict[str, str]) -> str:
        """`claims` are put over the true ones (None leaves one out); `alg`, `kid`, `key` say how it is signed."""
        now = int(time.time())
        person = self.user if not self.twist.get("by_userinfo") else {"sub": self.user["sub"]}
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": asked["nonce"], **person}
        claims = {name: value for name, value in (claims | self.twist.get("claims", {})).items() if value is not None}
        alg, headers = self.twist.get("alg", "RS256"), {"kid": self.twist.get("kid", self.kid)}
        if alg == "none":
            return jwt.encode(claims, None, algorithm="none", headers=headers)
        if alg == "HS256":  # with what everybody knows, as if it were a shared secret
            return jwt.encode(claims, SECRET, algorithm="HS256", headers=headers)
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048) if self.twist.get("key") else self.key
        token = jwt.encode(claims, key, algorithm=alg, headers=headers)
        if self.twist.get("tamper"):
            head, body, signature = token.split(".")
            changed = json.loads(base64.urlsafe_b64decode(body + "==")) | {"sub": "somebody-else"}
            token = f"{head}.{base64.urlsafe_b64encode(json.dumps(changed).encode()).rstrip(b'=').decode()}.{signature}"
        return token

    async def userinfo(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer access"
        return web.json_response(self.user | self.twist.get("userinfo", {}))

    async def control(self, request: web.Request) -> web.Response:
        """For the test: who is signed in, how to misbehave, a new key; answers how often the keys were fetched."""
        wanted = await request.json()
        self.twist = wanted.get("twist", {})
        self.user = wanted.get("user", self.user)
        if wanted.get("rotate"):
            self.rotate()
        return web.json_response({"fetched": self.fetched})


async def _serve() -> None:
    provider = Provider()
    runner = web.AppRunner(provider.app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    provider.issuer = f"http://127.0.0.1:{runner.addresses[0][1]}"
    print(provider.issuer, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # until whoever started us is gone
    await runner.cleanup()


if __name__ == "__main__":
    import asyncio

    asyncio.run(_serve())
