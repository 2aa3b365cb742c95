"""Secrets that we make: 256 random bits, of which only a hash is ever kept. No slow hash is needed for what is random."""

from __future__ import annotations

import hashlib
import secrets

TOKEN = "cat_"  # noqa: S105 (how every token begins, so that it is found where it was left by mistake)


def fresh(prefix: str = "") -> str:
    return prefix + secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """SHA-256, as 64 hex digits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def new_id() -> str:
    return secrets.token_hex(12)
