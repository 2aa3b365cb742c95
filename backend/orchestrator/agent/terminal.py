"""Text as a terminal shows it: carriage returns, backspaces and the cursor movements of progress bars, applied.

A `Screen` keeps only the last rows, which can still change; what scrolls out of them is settled. It is asked for changes
("from this offset on, the text is now …"), so that nobody copies a long text to add a short one. Colours (SGR) are kept;
every other escape sequence and control character is applied or dropped, so the text is harmless wherever it goes.
"""

from __future__ import annotations

import re

MAX_ROWS = 32
"""Rows that the cursor can reach; stacked progress bars are fewer."""
MAX_ROW = 4096
"""Characters of a row that can still change; a longer row settles, and a carriage return goes back to there."""
_MAX_HELD = 4200

_CSI = r"(?:\x1b\[|\x9b)"
_STRING = r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]{0,4096}"
_SPECIAL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_TOKEN = re.compile(
    r"(?P<run>[^\x00-\x08\x0a-\x1f\x7f-\x9f]+)"
    r"|(?P<newline>[\n\x0b\x0c\x85])"
    rf"|(?P<sgr>\x1b\[[0-9;:]{{0,64}}m)"
    rf"|{_CSI}(?P<arguments>[0-?]{{0,64}})[ -/]{{0,8}}(?P<csi>[@-~])"
    rf"|(?P<string>{_STRING}(?:\x07|\x1b\\|\x9c))"
    r"|(?P<escape>\x1b[ -/]{0,8}[0-~])"
    r"|(?P<control>.)",
    re.DOTALL,
)
_BEGUN = re.compile(rf"(?:{_CSI}[0-?]{{0,64}}[ -/]{{0,8}}|{_STRING}\x1b?|\x1b[ -/]{{0,8}})\Z")
_CELL = re.compile(r"(?:\x1b\[[0-9;:]*m)*[^\x1b]")
_TRAILING = re.compile(r"(?:\x1b\[[0-9;:]*m)+\Z")
_SGR = re.compile(r"\x1b\[[0-9;:]*m")


class _Row:
    """One line. `width` counts its characters less colour sequences."""

    __slots__ = ("text", "width")

    def __init__(self) -> None:
        self.text = ""
        self.width = 0


class Screen:
    """One stream's text."""

    def __init__(self) -> None:
        self._rows = [_Row()]
        self._row = 0
        self._col = 0
        self._colour = ""  # SGR sequences for the next character
        self._held = ""  # an escape sequence that is not all there
        self._end = 0  # length of the whole text
        self._settled = 0  # length of what the rows do not hold any more
        self._low: int | None = None  # where the text has changed since `changes` was last called
        self._scrolled: list[str] = []  # settled since then, from `_low` on

    def write(self, text: str) -> None:
        """Put text on the screen, as a program writes it."""
        if not self._held and not _SPECIAL.search(text) and self._at_end():
            self._append_lines(text)
            return
        text = _whole(self._held + text).replace("\r\n", "\n")
        begun = _begun(text)
        self._held = text[begun:]
        for token in _TOKEN.finditer(text, 0, begun):
            self._apply(token)

    def changes(self) -> tuple[int, str] | None:
        """Since the last call: the text up to an offset is as it was, and then goes on with this. None: no change."""
        if self._low is None:
            return None
        change = (self._low, "".join(self._scrolled) + self._from(self._low))
        self._low = None
        self._scrolled.clear()
        return change

    # ---- plain text at the end ---------------------------------------------------------------------------------------

    def _at_end(self) -> bool:
        return self._row == len(self._rows) - 1 and self._col == self._rows[-1].width and not self._colour

    def _append_lines(self, text: str) -> None:
        self._touch(self._end)
        if text.count("\n") > MAX_ROWS:
            cut = len(text)
            for _ in range(MAX_ROWS):
                cut = text.rfind("\n", 0, cut)
            self._append_row(text[: cut + 1])
            self._settle_all()
            text = text[cut + 1 :]
        first, *others = text.split("\n")
        self._append_row(first)
        for line in others:
            self._new_row()
            self._append_row(line)

    def _append_row(self, text: str) -> None:
        """Add to the end of the last row, where the cursor is."""
        row = self._rows[-1]
        row.text += text
        row.width += len(text)
        self._col = row.width
        self._end += len(text)
        if len(row.text) > MAX_ROW:
            self._settle_all()

    # ---- everything else ---------------------------------------------------------------------------------------------

    def _apply(self, token: re.Match[str]) -> None:
        match token.lastgroup:
            case "run":
                self._put(token[0])
            case "newline":
                self._line_feed()
            case "sgr":
                self._set_colour(token[0])
            case "csi":
                self._control(token["csi"], token["arguments"])
            case "control" if token[0] == "\r":
                self._col = 0
            case "control" if token[0] == "\b":
                self._col = max(0, self._col - 1)
            case _:
                pass

    def _control(self, kind: str, arguments: str) -> None:
        count = min(int(arguments), MAX_ROW) if arguments.isascii() and arguments.isdigit() else 0
        match kind:
            case "A":
                self._row = max(0, self._row - max(1, count))
            case "B":
                self._row = min(len(self._rows) - 1, self._row + max(1, count))
            case "C":
                self._col = min(MAX_ROW, self._col + max(1, count))
            case "D":
                self._col = max(0, self._col - max(1, count))
            case "G":
                self._col = max(1, count) - 1
            case "K":
                self._erase(count)
            case "J" if count == 0:
                self._erase(0)
                self._forget_below()
            case _:
                pass

    def _put(self, run: str) -> None:
        """Write characters at the cursor, over what is there."""
        row = self._rows[self._row]
        if self._col > row.width:
            run, self._col = " " * (self._col - row.width) + run, row.width
        colour, self._colour = self._colour, ""
        if self._col == row.width:
            text = row.text + colour + run
        elif len(run) > MAX_ROW:
            text = "".join(_cells(row.text)[: self._col]) + colour + run
        elif not colour and len(row.text) == row.width:
            text = row.text[: self._col] + run + row.text[self._col + len(run) :]
        else:
            text = _over(row.text, self._col, colour, run)
        self._col += len(run)
        self._replace(text, max(row.width, self._col))

    def _set_colour(self, sequence: str) -> None:
        """At the end of a row a colour is text; inside it, it waits for the next character."""
        row = self._rows[self._row]
        if self._col >= row.width and not self._colour:
            self._replace(row.text + sequence, row.width)
        else:
            self._colour = self._colour + sequence if len(self._colour) < 64 else sequence

    def _line_feed(self) -> None:
        if self._row < len(self._rows) - 1:
            self._row, self._col = self._row + 1, 0
        else:
            self._touch(self._end)
            self._new_row()

    def _erase(self, mode: int) -> None:
        row = self._rows[self._row]
        cells = _cells(row.text)
        if mode == 0 and self._col < row.width:
            self._replace("".join(cells[: self._col]), self._col)
        elif mode == 1 and cells:
            done = min(self._col + 1, len(cells))
            self._replace(" " * done + "".join(cells[done:]), len(cells))
        elif mode == 2:
            self._replace("", 0)

    def _forget_below(self) -> None:
        if self._row < len(self._rows) - 1:
            self._touch(self._offset(self._row) + len(self._rows[self._row].text))
            self._end -= sum(len(row.text) + 1 for row in self._rows[self._row + 1 :])
            del self._rows[self._row + 1 :]

    # ---- rows --------------------------------------------------------------------------------------------------------

    def _replace(self, text: str, width: int) -> None:
        """The cursor's row is now this."""
        row = self._rows[self._row]
        last = self._row == len(self._rows) - 1
        if not last and len(text) > MAX_ROW:
            text = text[:MAX_ROW]
            width = len(_cells(text))
        start = self._offset(self._row)
        self._touch(start + len(row.text) if text.startswith(row.text) else start)
        self._end += len(text) - len(row.text)
        row.text, row.width = text, width
        if last and len(text) > MAX_ROW:
            self._settle_all()

    def _new_row(self) -> None:
        self._rows.append(_Row())
        self._end += 1
        self._row, self._col = len(self._rows) - 1, 0
        if len(self._rows) > MAX_ROWS:
            self._settle(self._rows.pop(0).text + "\n")
            self._row -= 1

    def _settle_all(self) -> None:
        self._settle("\n".join(row.text for row in self._rows))
        self._rows = [_Row()]
        self._row = self._col = 0

    def _settle(self, text: str) -> None:
        if self._low is not None and self._settled + len(text) > self._low:
            self._scrolled.append(text[max(0, self._low - self._settled) :])
        self._settled += len(text)

    def _touch(self, offset: int) -> None:
        self._low = offset if self._low is None else min(self._low, offset)

    def _offset(self, row: int) -> int:
        """Where a row begins in the whole text."""
        below = self._rows[row:]
        return self._end - sum(len(each.text) for each in below) - (len(below) - 1)

    def _from(self, low: int) -> str:
        """The rows' text from an offset on, collected from the end, as it mostly is little."""
        parts: list[str] = []
        end = self._end
        for row in reversed(self._rows):
            start = end - len(row.text)
            parts.append(row.text[max(0, low - start) :])
            if start <= max(low, self._settled):
                break
            parts.append("\n")
            end = start - 1
        return "".join(reversed(parts))


def plain(text: str) -> str:
    """What is left of a whole text: applied, and harmless."""
    screen = Screen()
    screen.write(text)
    change = screen.changes()
    return change[1] if change else ""


def uncoloured(text: str) -> str:
    """The text of a Screen without its colours."""
    return _SGR.sub("", text)


def harmless(text: str) -> str:
    """A string that any store can hold: no NUL, no half characters."""
    return text if text.isascii() and "\0" not in text else _whole(text).replace("\0", "\ufffd")


def _whole(text: str) -> str:
    """Surrogates joined to characters, and replaced where they stand alone."""
    if not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _begun(text: str) -> int:
    """Where an escape sequence begins that the end of the text cuts; the length if none does."""
    low = max(0, len(text) - _MAX_HELD)
    if not any(mark in text[low:] for mark in "\x1b\x90\x98\x9b\x9d\x9e\x9f"):
        return len(text)
    found = _BEGUN.search(text, low)
    return found.start() if found else len(text)


def _cells(text: str) -> list[str]:
    """A row's characters, each with the colours set before it."""
    return _CELL.findall(text, 0, len(text) - len(_trailing(text)))


def _trailing(text: str) -> str:
    """The colours set after a row's last character."""
    found = _TRAILING.search(text)
    return found[0] if found else ""


def _over(text: str, col: int, colour: str, run: str) -> str:
    """`run` written over a row's text at a column inside it. Colours set by what is overwritten go with it: whoever
    redraws a coloured line sets its colours again."""
    cells = _cells(text)
    reaches_end = col + len(run) >= len(cells)
    cells[col : col + len(run)] = [colour + run[0], *run[1:]]
    return "".join(cells) + ("" if reaches_end else _trailing(text))
