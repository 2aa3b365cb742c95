"""`<execute>code</execute>`, as CodeAct models write it.

Whitespace around the code, and a Markdown fence directly inside the tags, belong to the tags. An `<execute>` that is quoted
(after a quotation mark, or behind an open backtick on its line) is prose. Servers strip the stop string `</execute>`, all
of it or all but its beginning; at the end of the message it is put back.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from orchestrator.agent.actions import CodeClosed, CodeOpened, Fabricated, FlushReason, Piece
from orchestrator.agent.decoders.text import MAX_SPACE, code, partial_prefix, partial_tag, prose, space_before
from orchestrator.agent.signals import Text, ToolCall

OPEN = "<execute>"
CLOSE = "</execute>"
QUOTES = "\"'“‘«‹"

_MARK = re.compile(r"`+|\n|<execute>")
_FENCE = re.compile(r"`{3,16}[A-Za-z0-9_+-]{0,20}[ \t]{0,20}\r?\n")
_FENCE_BEGUN = re.compile(r"`{1,16}\Z|`{3,16}[A-Za-z0-9_+-]{0,20}[ \t]{0,20}\r?\Z")
_FENCE_END = re.compile(r"`{3,16}\Z")
_FENCE_END_BEGUN = re.compile(r"`{1,16}\Z")


class Quoting:
    """Where we stand in a line of prose: at its start, inside a backtick span, behind a quotation mark."""

    def __init__(self) -> None:
        self.line_start = True
        self.last = ""  # the last character
        self._span = 0  # length of the backtick run that opened a span; 0: none
        self._run = 0  # length of the backtick run that ends here
        self._fence = False  # that run began its line

    def walk(self, text: str) -> None:
        """Go over text that holds no newline and no backtick."""
        if text:
            self._end_run()
            self.line_start = False
            self.last = text[-1]

    def mark(self, text: str) -> None:
        """Go over a run of backticks, or one newline."""
        if text == "\n":
            self._span = self._run = 0
            self.line_start = True
        else:
            if not self._run:
                self._fence = self.line_start
            self._run += len(text)
            self.line_start = False
        self.last = text[-1]

    def quoted(self) -> bool:
        """Whether a tag that begins here is only spoken of."""
        self._end_run()
        return self._span > 0 or (self.last != "" and self.last in QUOTES)

    def _end_run(self) -> None:
        run, self._run = self._run, 0
        if not run or (self._fence and run >= 3 and not self._span):
            return  # a fence line is not a span
        if not self._span:
            self._span = run
        elif self._span == run:
            self._span = 0


class CodeActDecoder:
    """`prefixes`: how an observation begins; a line of prose that begins so is the model's own invention."""

    error = ""

    def __init__(self, prefixes: Sequence[str]) -> None:
        self.done = False
        self._prefixes = prefixes
        self._held = ""
        self._state = self._prose
        self._quoting = Quoting()
        self._fenced = False  # the code sits in a fence inside the tags

    def feed(self, signal: Text | ToolCall) -> list[Piece]:
        if self.done or isinstance(signal, ToolCall):
            return []
        buffer, self._held = self._held + signal.text, ""
        return self._state(buffer)

    def flush(self, reason: FlushReason) -> list[Piece]:
        if self.done:
            return []
        held, self._held = self._held, ""
        if self._state == self._prose:
            return prose(held)
        pieces = self._opened(held, final=True) if self._state == self._opening else []
        held = held if not pieces else self._take_held()
        if reason not in ("stop", "tool_calls"):
            return [*pieces, *code(held)]
        return [*pieces, *self._restore(held)]

    # ---- prose -------------------------------------------------------------------------------------------------------

    def _prose(self, buffer: str) -> list[Piece]:
        """Tell prose up to a tag, a fabricated observation, or what may yet become one."""
        keep = self._prose_end(buffer)
        at = 0
        while True:
            if self._quoting.line_start and buffer.startswith(tuple(self._prefixes), at):
                self.done = True
                return [*prose(buffer[: space_before(buffer, at)]), Fabricated()]
            found = _MARK.search(buffer, at, keep)
            if not found:
                self._quoting.walk(buffer[at:keep])
                self._held = buffer[keep:]
                return prose(buffer[:keep])
            self._quoting.walk(buffer[at : found.start()])
            at = found.end()
            if found[0] != OPEN:
                self._quoting.mark(found[0])
            elif self._quoting.quoted():
                self._quoting.walk(OPEN)
            else:
                self._state = self._opening
                return [*prose(buffer[: found.start()]), *self._opening(buffer[found.start() :])]

    def _prose_end(self, buffer: str) -> int:
        """How much of the buffer is surely prose or complete tags."""
        end = partial_tag(buffer, OPEN)
        line = buffer.rfind("\n") + 1
        if (line or self._quoting.line_start) and partial_prefix(buffer[line:], self._prefixes):
            end = line
        return space_before(buffer, end)

    # ---- code --------------------------------------------------------------------------------------------------------

    def _opening(self, buffer: str) -> list[Piece]:
        """Wait until it is clear whether a fence follows the tag."""
        return self._opened(buffer, final=False)

    def _opened(self, buffer: str, *, final: bool) -> list[Piece]:
        rest = buffer[len(OPEN) :]
        at = min(len(rest) - len(rest.lstrip()), MAX_SPACE)
        near = at < MAX_SPACE  # a fence further away than that is not looked for
        if near and not final and (at == len(rest) or _FENCE_BEGUN.match(rest, at)):
            self._held = buffer
            return []
        fence = _FENCE.match(rest, at) if near else None
        self._fenced = fence is not None
        # the first line's indentation is code: it must fit the lines below it
        at = fence.end() if fence else (rest.rfind("\n", 0, at) + 1 or at)
        self._state = self._code
        return [CodeOpened(OPEN + rest[:at]), *self._code(rest[at:])]

    def _code(self, buffer: str) -> list[Piece]:
        tag = buffer.find(CLOSE)
        if tag >= 0:
            start = self._closing_start(buffer, tag, _FENCE_END)
            self.done = True
            return [*code(buffer[:start]), CodeClosed(buffer[start : tag + len(CLOSE)])]
        start = self._closing_start(buffer, partial_tag(buffer, CLOSE), _FENCE_END_BEGUN)
        self._held = buffer[start:]
        return code(buffer[:start])

    def _closing_start(self, buffer: str, tag: int, fence: re.Pattern[str]) -> int:
        """Where the closing begins, that is, the whitespace and perhaps the fence before the tag."""
        start = space_before(buffer, tag)
        found = fence.search(buffer, max(0, start - 16), start) if self._fenced else None
        return space_before(buffer, found.start()) if found else start

    def _restore(self, held: str) -> list[Piece]:
        """Close code whose closing tag the server stripped; `held` may end in the tag's beginning."""
        tag = partial_tag(held, CLOSE)
        start = self._closing_start(held, tag, _FENCE_END)
        self.done = True
        return [*code(held[:start]), CodeClosed(held[start:tag] + CLOSE)]

    def _take_held(self) -> str:
        held, self._held = self._held, ""
        return held
