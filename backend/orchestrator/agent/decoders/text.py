"""What the decoders of text formats share: held-back text, and finding what could still become a tag."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.agent.actions import CodeText, Piece, Prose

MAX_SPACE = 32
"""Whitespace characters held back at most: more than any model means, few enough to look at again and again."""


def space_before(text: str, end: int) -> int:
    """Where the whitespace that ends at `end` begins, looking back at most MAX_SPACE characters."""
    low = max(0, end - MAX_SPACE)
    return low + len(text[low:end].rstrip())


def partial_tag(text: str, tag: str) -> int:
    """Where a not yet complete `tag` begins at the end of `text`; the length of `text` if there is none.
    The tag's first character must not occur in it again."""
    at = text.rfind(tag[0], max(0, len(text) - len(tag) + 1))
    return at if at >= 0 and tag.startswith(text[at:]) else len(text)


def partial_prefix(line: str, prefixes: Sequence[str]) -> bool:
    """Whether a line that begins like this may yet begin with one of the prefixes."""
    return any(len(line) < len(prefix) and prefix.startswith(line) for prefix in prefixes)


def prose(text: str) -> list[Piece]:
    return [Prose(text)] if text else []


def code(text: str) -> list[Piece]:
    return [CodeText(text)] if text else []
