"""A text that is changed only near its end, kept in pieces so that no change copies the whole."""

from __future__ import annotations

from collections import deque


class Rope:
    """Begins at offset `base` of the text it holds; `end` is the offset after it. Offsets are code points."""

    __slots__ = ("_pieces", "base", "end")

    def __init__(self, base: int = 0) -> None:
        self._pieces: deque[str] = deque()
        self.base = base
        self.end = base

    def __len__(self) -> int:
        return self.end - self.base

    def __str__(self) -> str:
        if len(self._pieces) > 1:
            self._pieces = deque(["".join(self._pieces)])
        return self._pieces[0] if self._pieces else ""

    def write(self, at: int, text: str) -> None:
        """From offset `at` on, the text goes on with `text`. What lies before `base` is not held."""
        if at < self.base:
            text, at = text[self.base - at :], self.base
        while self.end > at:
            last = self._pieces.pop()
            self.end -= len(last)
            if self.end < at:
                self._push(last[: at - self.end])
        self._push(text)

    def drop_front(self, count: int) -> int:
        """Let go of the first `count` characters; returns their size in bytes of UTF-8."""
        size = 0
        self.base += count
        while count:
            first = self._pieces.popleft()
            if len(first) > count:
                self._pieces.appendleft(first[count:])
                first = first[:count]
            count -= len(first)
            size += len(first.encode())
        return size

    def _push(self, text: str) -> None:
        if text:
            self._pieces.append(text)
            self.end += len(text)
