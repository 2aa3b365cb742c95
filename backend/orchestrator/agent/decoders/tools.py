"""Code in the arguments of an OpenAI tool call, `execute_python({"code": "…"})`.

The JSON string is decoded while it streams; its closing quote ends the code. The arguments' other characters carry no
meaning and are not kept: `opening` and `closing` are empty, and history writes the call anew from the code.
"""

from __future__ import annotations

import re

from orchestrator.agent.actions import CodeClosed, CodeOpened, FlushReason, Piece
from orchestrator.agent.decoders.text import code, prose
from orchestrator.agent.signals import Text, ToolCall

TOOL = "execute_python"
MAX_HEAD = 2_000
"""Characters of arguments before the code: a brace and a key, if all is well."""

_STRING = r'"(?:[^"\\]|\\.)*"'
_HEAD = re.compile(rf'\s*\{{\s*(?:(?!"code"){_STRING}\s*:\s*(?:{_STRING}|[\w.+-]+)\s*,\s*)*"code"\s*:\s*"')
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_UNICODE = re.compile(r"[0-9A-Fa-f]{4}")
_HINT = 'Call it with one JSON object, {"code": "…"}, that holds the Python code as a string.'


class ToolsDecoder:
    """Only the first tool call counts. A call that cannot be read is code that is opened and never closed."""

    def __init__(self) -> None:
        self.done = False
        self.error = ""
        self._call: int | None = None  # index of the call that counts
        self._open = False
        self._held = ""  # arguments not yet understood
        self._high = ""  # a high surrogate that waits for its low one

    def feed(self, signal: Text | ToolCall) -> list[Piece]:
        if self.done or self.error:
            return []
        if isinstance(signal, Text):
            return prose(signal.text) if self._call is None else []
        if self._call is None:
            self._call = signal.index
        if signal.index != self._call:
            return []
        if signal.name and signal.name != TOOL:
            return self._fail(f"There is no tool {signal.name[:100]!r}; the only tool is {TOOL}.")
        return self._arguments(signal.arguments)

    def flush(self, reason: FlushReason) -> list[Piece]:
        """Open code stays open, whatever the reason: without its closing quote it is not complete."""
        if self.done or self.error or self._call is None:
            return []
        opened: list[Piece] = [] if self._open else [CodeOpened("")]
        if reason in ("stop", "tool_calls"):
            self.error = f"The arguments of {TOOL} were not complete, so no code has run. {_HINT}"
        return opened

    def _arguments(self, text: str) -> list[Piece]:
        buffer, self._held = self._held + text, ""
        if self._open:
            return self._string(buffer)
        found = _HEAD.match(buffer)
        if found:
            self._open = True
            return [CodeOpened(""), *self._string(buffer[found.end() :])]
        if len(buffer) > MAX_HEAD:
            return self._fail(f"The arguments of {TOOL} could not be read, so no code has run. {_HINT}")
        self._held = buffer
        return []

    def _string(self, buffer: str) -> list[Piece]:
        """Decode characters of the JSON string, up to its closing quote or an escape that is not all there."""
        out: list[str] = []
        at = 0
        while at < len(buffer):
            stop = _next_special(buffer, at)
            self._add(out, buffer[at:stop])
            at = stop
            if at == len(buffer):
                break
            if buffer[at] == '"':
                self._add_surrogate(out)
                self.done = True
                return [*code("".join(out)), CodeClosed("")]
            size = self._escape(out, buffer, at)
            if size == 0:
                self._held = buffer[at:]
                break
            if size < 0:
                shown = buffer[at : at + 6]
                return code("".join(out)) + self._fail(
                    f"The arguments of {TOOL} hold {shown!r}, which is no JSON escape; no code has run. {_HINT}"
                )
            at += size
        return code("".join(out))

    def _escape(self, out: list[str], buffer: str, at: int) -> int:
        """Decode the escape at `at`. Returns its length, 0 when more is to come, -1 when it is none."""
        kind = buffer[at + 1 : at + 2]
        if kind in _ESCAPES:
            if kind:
                self._add(out, _ESCAPES[kind])
            return 2
        if kind != "u":
            return -1 if kind else 0
        digits = buffer[at + 2 : at + 6]
        if len(digits) < 4:
            return 0 if re.fullmatch(r"[0-9A-Fa-f]*", digits) else -1
        if not _UNICODE.fullmatch(digits):
            return -1
        self._unit(out, int(digits, 16))
        return 6

    def _unit(self, out: list[str], unit: int) -> None:
        """Add one UTF-16 code unit; surrogates that come alone become U+FFFD."""
        if 0xDC00 <= unit < 0xE000 and self._high:
            high, self._high = ord(self._high), ""
            out.append(chr(0x10000 + ((high - 0xD800) << 10) + (unit - 0xDC00)))
        elif 0xD800 <= unit < 0xDC00:
            self._add_surrogate(out)
            self._high = chr(unit)
        else:
            self._add(out, "�" if 0xDC00 <= unit < 0xE000 else chr(unit))

    def _add(self, out: list[str], text: str) -> None:
        if text:
            self._add_surrogate(out)
            out.append(text)

    def _add_surrogate(self, out: list[str]) -> None:
        if self._high:
            self._high = ""
            out.append("�")

    def _fail(self, words: str) -> list[Piece]:
        """Leave the code open for good: it was begun, and can never be run."""
        self.error = words
        return [] if self._open else [CodeOpened("")]


def _next_special(buffer: str, at: int) -> int:
    """Where the next quote or backslash is, or the end."""
    found = _SPECIAL.search(buffer, at)
    return found.start() if found else len(buffer)


_SPECIAL = re.compile(r'["\\]')
