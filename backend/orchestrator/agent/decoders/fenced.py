"""Python in Markdown fences, as most models write it.

A line that opens a ```` ```python ```` fence begins a code action; a line of nothing but as many backticks or more ends it.
Fences of other languages are prose, and nothing inside them opens anything. ```` ```output ```` is the model inventing its
own observation. Works line by line: a line is held back only while it may yet be a fence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from orchestrator.agent.actions import CodeClosed, CodeOpened, Fabricated, FlushReason, Piece
from orchestrator.agent.decoders.text import code, partial_prefix, prose, space_before
from orchestrator.agent.signals import Text, ToolCall

PYTHON = frozenset({"python", "python3", "py", "py3", "ipython", "ipython3"})
INVENTED = frozenset({"output", "stdout"})
MAX_LINE = 200
"""A fence line is shorter than this."""

_FENCE = re.compile(r" {0,3}(`{3,})[ \t]*([^`\s]*)[^`\n]*\n")
_FENCE_BEGUN = re.compile(r" {0,3}(?:`{0,2}|`{3,}[^`\n]*)\Z")
_END = re.compile(r"\n? {0,3}(`{3,})[ \t]*\r?(?=\n)")
_END_PREFIX = re.compile(r"\n? {0,3}`*")
_END_BEGUN = re.compile(r"\n? {0,3}`*[ \t]*\r?\Z")


class FencedDecoder:
    """`prefixes`: how an observation begins; a line of prose that begins so is the model's own invention."""

    error = ""

    def __init__(self, prefixes: Sequence[str]) -> None:
        self.done = False
        self._prefixes = tuple(prefixes)
        self._held = ""
        self._line_start = True  # of what is held
        self._other = 0  # backticks of the fence of another language that is open
        self._ticks = 0  # backticks of the open code fence
        self._empty = True  # no code yet, so its end needs no newline before it

    def feed(self, signal: Text | ToolCall) -> list[Piece]:
        if self.done or isinstance(signal, ToolCall):
            return []
        buffer, self._held = self._held + signal.text, ""
        return self._code(buffer) if self._ticks else self._prose(buffer)

    def flush(self, reason: FlushReason) -> list[Piece]:
        if self.done:
            return []
        held, self._held = self._held, ""
        if not self._ticks:
            return prose(held)
        if reason not in ("stop", "tool_calls"):
            return code(held)
        self.done = True
        return self._restore(held)

    # ---- prose -------------------------------------------------------------------------------------------------------

    def _prose(self, buffer: str) -> list[Piece]:
        """Go line by line; tell whole lines at once, and a last line that cannot be a fence."""
        at, line_start = 0, self._line_start
        while True:
            if line_start:
                if ended := self._special(buffer, at):
                    return ended
                if self._undecided(buffer[at : at + MAX_LINE]):
                    return self._keep(buffer, at)
            newline = buffer.find("\n", at)
            if newline < 0:
                return self._keep(buffer, len(buffer))
            at, line_start = newline + 1, True

    def _special(self, buffer: str, at: int) -> list[Piece]:
        """What a line that changes everything leads to; empty if the line at `at` is none."""
        if not self._other and buffer.startswith(self._prefixes, at):
            return self._fabricated(buffer, at)
        found = _FENCE.match(buffer, at, at + MAX_LINE)
        if not found:
            return []
        ticks, language = len(found[1]), found[2].lower().strip("{}.")
        if self._other:
            if ticks >= self._other and not found[0].strip(" \t\r\n`"):
                self._other = 0
        elif language in PYTHON:
            self._ticks = ticks
            return [*prose(buffer[:at]), CodeOpened(found[0]), *self._code(buffer[found.end() :])]
        elif language in INVENTED:
            return self._fabricated(buffer, at)
        else:
            self._other = ticks
        return []

    def _undecided(self, line: str) -> bool:
        if "\n" in line:
            return False
        invented = not self._other and partial_prefix(line, self._prefixes)
        return invented or (len(line) < MAX_LINE and _FENCE_BEGUN.match(line) is not None)

    def _keep(self, buffer: str, end: int) -> list[Piece]:
        """Tell prose up to `end`, less whitespace that would be dropped before a fabricated observation."""
        end = space_before(buffer, end)
        self._held = buffer[end:]
        if end:
            self._line_start = buffer[end - 1] == "\n"
        return prose(buffer[:end])

    def _fabricated(self, buffer: str, at: int) -> list[Piece]:
        self.done = True
        return [*prose(buffer[: space_before(buffer, at)]), Fabricated()]

    # ---- code --------------------------------------------------------------------------------------------------------

    def _code(self, buffer: str) -> list[Piece]:
        """Tell code up to the line that ends it, or what may yet become that line."""
        at = 0 if self._empty else buffer.find("\n")
        while at >= 0:
            ended = _END.match(buffer, at, at + MAX_LINE)
            if ended and len(ended[1]) >= self._ticks:
                self.done = True
                return [*code(buffer[:at]), CodeClosed(ended[0])]
            line = buffer[at : at + MAX_LINE]
            if len(line) < MAX_LINE and _END_BEGUN.match(line):
                return self._tell(buffer, at)
            at = buffer.find("\n", at + 1)
        return self._tell(buffer, len(buffer))

    def _tell(self, buffer: str, end: int) -> list[Piece]:
        self._held = buffer[end:]
        self._empty = self._empty and end == 0
        return code(buffer[:end])

    def _restore(self, held: str) -> list[Piece]:
        """Close code whose last line the server stripped, or which the model forgot to close."""
        ticks = held.count("`")
        if ticks >= self._ticks:
            return [CodeClosed(held)]
        if held and not _END_PREFIX.fullmatch(held):
            return [*code(held), CodeClosed("\n" + "`" * self._ticks)]
        newline = "" if held or self._empty else "\n"
        return [CodeClosed(newline + held + "`" * (self._ticks - ticks))]
