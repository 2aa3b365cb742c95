"""Messages too large for one frame. Text is cut into several messages, so not a byte of it is lost; anything else keeps its
place and its short fields, and says in its metadata how many bytes were left out."""

from __future__ import annotations

import json
from typing import Any

LIMIT = 16 * 1024**2  # bytes of one message
PIECE = 2 * 1024**2  # characters of one piece of text
SHORT = 64 * 1024  # characters of a field that is kept

Parts = list[bytes]
"""Header, parent header, metadata, content, buffers: as on the wire."""


def fitting(parts: Parts) -> list[Parts]:
    """The message itself, or what goes in its place."""
    size = sum(map(len, parts))
    if size <= LIMIT:
        return [parts]
    header, parent, _, content = parts[:4]
    said = json.loads(bytes(content).decode("utf-8", "replace"))
    text = said.get("text")
    if json.loads(bytes(header)).get("msg_type") == "stream" and isinstance(text, str):
        pieces = (text[start : start + PIECE] for start in range(0, len(text), PIECE))
        return [[header, parent, b"{}", _json(said | {"text": piece})] for piece in pieces]
    return [[header, parent, _json({"left_out": size}), _json(_shortened(said))]]


def _shortened(said: dict[str, Any]) -> dict[str, Any]:
    """Short values, and the beginning of long strings."""
    kept = {key: value[:SHORT] if isinstance(value, str) else value for key, value in said.items()}
    return {key: value for key, value in kept.items() if len(json.dumps(value)) <= 8 * SHORT}


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
