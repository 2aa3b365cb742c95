"""Long texts for a model with a short memory: the head and the tail, and a count of what is left out."""

from __future__ import annotations


def clip(text: str, limit: int, head: float = 0.5) -> str:
    """`text` if it has at most `limit` characters, else about that many of its beginning (`head` of them) and its end."""
    if len(text) <= limit:
        return text
    first = int(limit * head)
    last = len(text) - (limit - first)
    return _joined(text[:first], last - first, text[last:])


def clip_bytes(text: str, limit: int) -> str:
    """The same by bytes of UTF-8, whatever lies where in the text: as much of beginning and end, no character cut."""
    data = text.encode()
    if len(data) <= limit:
        return text
    first = data[: limit // 2].decode(errors="ignore")
    last = data[len(data) - limit // 2 :].decode(errors="ignore")
    return _joined(first, len(text) - len(first) - len(last), last)


def _joined(first: str, left_out: int, last: str) -> str:
    return f"{first}\n[… {left_out} characters left out …]\n{last}"
