"""The arithmetic of `Range` (RFC 9110, section 14). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

ONE = re.compile(r"bytes[ \t]*=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes from `start` up to, not including, `end`, of `size`."""

    start: int
    end: int
    size: int

    @property
    def length(self) -> int:
        return self.end - self.start

    def content_range(self) -> str:
        return f"bytes {self.start}-{self.end - 1}/{self.size}"


class Unsatisfiable(Exception):
    """The file is too short for the range that was asked for."""


def wanted(header: str | None, size: int) -> tuple[Span, bool]:
    """The bytes to send of a file of `size` bytes, and whether that answers a range (206) or is all of it (200). Whatever
    is no single range of bytes, several ranges included, is ignored, as the RFC allows. Raises Unsatisfiable."""
    whole = Span(0, size, size)
    match = ONE.fullmatch(header) if header is not None else None
    if match is None or match.groups() == ("", ""):
        return whole, False
    first, last = match.groups()
    if not first:
        if int(last) == 0 or size == 0:
            raise Unsatisfiable
        return Span(max(0, size - int(last)), size, size), True
    if last and int(last) < int(first):
        return whole, False
    if int(first) >= size:
        raise Unsatisfiable
    return Span(int(first), min(int(last) + 1, size) if last else size, size), True
