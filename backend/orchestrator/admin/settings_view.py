"""The server's settings as an administrator may see them: all names, and no secret, wherever one could hide."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from orchestrator.admin.schemas import SettingInfo

_SECRET = re.compile(r"(token|key|secret|password)$")
"""Names of what is never shown, whatever type it has."""


def shown(settings: BaseSettings) -> list[SettingInfo]:
    """In the order in which they are declared."""
    prefix = str(settings.model_config.get("env_prefix", ""))
    return [
        _info(f"{prefix}{name}".upper(), name, getattr(settings, name), name not in settings.model_fields_set)
        for name in type(settings).model_fields
    ]


def _info(variable: str, name: str, value: Any, default: bool) -> SettingInfo:
    if isinstance(value, SecretStr) or _SECRET.search(name):
        text = value.get_secret_value() if isinstance(value, SecretStr) else str(value or "")
        return SettingInfo(name=variable, value="", default=default, secret=bool(text))
    return SettingInfo(name=variable, value=_text(value), default=default, secret=False)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | Path):
        return without_password(str(value))
    if isinstance(value, int | float):
        return str(value)
    return f"({type(value).__name__})"  # what has structure may hold anything


def without_password(text: str) -> str:
    """A URL loses its password, and its query, which drivers take passwords from, too; other text stays as it is."""
    if "://" not in text:
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        return "(not a URL)"
    user, _, host = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    whose = f"{name}:…@" if colon else f"{name}@" if name else ""
    return f"{parts.scheme}://{whose}{host}{parts.path}{'?…' if parts.query else ''}"
