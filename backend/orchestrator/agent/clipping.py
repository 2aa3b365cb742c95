"""Long texts for a model with a short memory: the head and the tail, and a count of what is left out."""

from __future__ import annotations


def clip(text: str, limit: int, head: float = 0.5) -> str:
    """`text` if it has at most `limit` characters, else about that many of its beginning (`head` of them) and its end."""
    if len(text) <= limit:
        return text
    first = int(limit * head)
    last = len(text) - (limit - first)
    return f"{text[:first]}\n[… {last - first} characters left out …]\n{text[last:]}"
