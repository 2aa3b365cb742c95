"""What an ID token must be, to be believed (OpenID Connect Core 1.0, 3.1.3.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from joserfc.jwk import KeySet

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA"]
"""Signed with a key of the provider's own: never `none`, and never with a secret that we would share."""
LEEWAY_S = 60
OLDEST_S = 600
"""We have asked for it a moment ago; an old one was made for somebody else."""


class Untrusted(Exception):
    """What a provider says cannot be believed, or it says nothing. The words are for the log."""


def key_set(document: dict[str, Any]) -> KeySet:
    """The keys that can be used for signatures; others are passed over. Raises `Untrusted` when there is none."""
    from joserfc.errors import JoseError
    from joserfc.jwk import JWKRegistry, KeySet

    keys = []
    for entry in document.get("keys", []):
        if isinstance(entry, dict) and entry.get("kty") in ("RSA", "EC", "OKP") and entry.get("use", "sig") == "sig":
            try:
                keys.append(JWKRegistry.import_key(entry))
            except (JoseError, ValueError, KeyError, TypeError):
                continue
    if not keys:
        raise Untrusted("the provider lists no key for signatures")
    return KeySet(keys)


def checked(token: str, keys: KeySet, issuer: str, client: str, now: float) -> dict[str, Any]:
    """Its claims, but for the nonce. Raises `Untrusted`, and `KeyError` when its key is not among `keys`."""
    from joserfc import jwt
    from joserfc.errors import InvalidKeyIdError, JoseError
    from joserfc.jws import JWSRegistry

    registry = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
    rules = jwt.JWTClaimsRegistry(
        now=int(now), leeway=LEEWAY_S, iss={"essential": True, "value": issuer}, sub={"essential": True},
        aud={"essential": True, "value": client}, exp={"essential": True}, iat={"essential": True},
    )  # fmt: skip
    try:
        claims = jwt.decode(token, keys, algorithms=ALGORITHMS, registry=registry).claims
        rules.validate(claims)
    except InvalidKeyIdError as error:
        raise KeyError(str(error)) from error
    except (JoseError, ValueError, TypeError) as error:
        raise Untrusted(f"the ID token does not hold: {type(error).__name__} {error}") from error
    if now - claims["iat"] > OLDEST_S:
        raise Untrusted("the ID token is old")
    audience = claims["aud"]
    if isinstance(audience, list) and audience != [client] and claims.get("azp") != client:
        raise Untrusted("the ID token was made for others too, and not asked for by us (azp)")
    if claims.get("azp", client) != client:
        raise Untrusted("the ID token was asked for by somebody else (azp)")
    if not isinstance(claims["sub"], str) or not 0 < len(claims["sub"]) <= 255:
        raise Untrusted("the ID token names nobody")
    return claims
