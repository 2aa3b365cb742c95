"""A turn on a terminal, or in a file. Pure: events in, text out.

A terminal gets colours and progress bars that redraw their line; a file gets whole lines. What comes from the model or the
sandbox is never trusted with the terminal: of its control characters only line ends, tabs and colours pass.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from orchestrator.openai_api.rendering import NOT_RUN
from orchestrator.protocol.events import (
    CellClosed,
    CellOutcome,
    CellOutput,
    CellProgress,
    CodeDelta,
    Event,
    StepClosed,
    TextDelta,
    TurnClosed,
    TurnOutcome,
    TurnStopping,
)
from orchestrator.protocol.outputs import ErrorOutput, OmittedOutput, Output, Put, RichOutput, TextOutput, Wipe, Write

DIM, CYAN, RED, RESET = "\x1b[2m", "\x1b[36m", "\x1b[31m", "\x1b[0m"

_COLOUR = re.compile(r"\x1b\[[0-9;:]{0,64}m")
_CONTROL = re.compile(r"\x1b\[[0-9;:]{0,64}m|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def tame(text: str, *, colours: bool) -> str:
    """Text that can do nothing to a terminal but print, and colour when allowed."""
    return _CONTROL.sub(lambda found: found[0] if colours and _COLOUR.fullmatch(found[0]) else "", text)


@dataclass
class Printer:
    """`feed` returns what to print next. Events may come twice, or as facts only."""

    tty: bool
    _step: int = 0
    _prose: int = 0
    _code: int | None = None
    _shown: Shown | None = None  # of the cell that runs
    _cells: set[str] = field(default_factory=set)
    _closed: bool = False
    _column: int = 0  # 0 at the beginning of a line
    _blank: bool = True  # the line above is empty

    def feed(self, event: Event) -> str:
        match event:
            case TextDelta(step=step, offset=offset, text=text):
                return self._delta(step, offset, text, code=False)
            case CodeDelta(step=step, offset=offset, text=text):
                return self._delta(step, offset, text, code=True)
            case StepClosed():
                return self._step_closed(event) if event.step == self._step else ""
            case CellProgress(words=words) if words and self.tty:
                return self._ours(f"… {words}")
            case CellOutput(cell=cell) if cell not in self._cells:
                return self._print(self._of_cell(cell).output(event))
            case CellClosed() if event.cell not in self._cells:
                return self._cell_closed(event)
            case TurnStopping():
                return self._ours("Stopping …")
            case TurnClosed() if not self._closed:
                self._closed = True
                return self._turn_closed(event)
            case _:
                return ""

    # ---- what the model writes -----------------------------------------------------------------------------------

    def _delta(self, step: int, offset: int, text: str, *, code: bool) -> str:
        known = (self._code or 0) if code else self._prose
        if step != self._step or offset > known or offset + len(text) <= known:
            return ""
        text = text[known - offset :]
        return self._write_code(text) if code else self._write_prose(text)

    def _write_prose(self, text: str) -> str:
        first = self._prose == 0
        self._prose += len(text)
        return (self._line() if first else "") + self._print(tame(text, colours=False))

    def _write_code(self, text: str) -> str:
        opening = self._opening() if self._code is None else ""
        self._code = (self._code or 0) + len(text)
        return opening + self._print(tame(text, colours=False))

    def _opening(self) -> str:
        return self._line() + self._print(CYAN if self.tty else "```python\n")

    def _step_closed(self, event: StepClosed) -> str:
        said = self._delta(event.step, 0, event.prose, code=False) if self._code is None else ""
        if event.code is not None:
            said += self._delta(event.step, 0, event.code.code, code=True) or (
                self._opening() if self._code is None else ""
            )
            said += self._line() + self._print(RESET if self.tty else "```\n")
            if why := NOT_RUN.get(event.finish):
                said += self._ours(f"This code was not run: {why}.")
        self._step, self._prose, self._code = event.step + 1, 0, None
        return said

    # ---- what the cell puts out ----------------------------------------------------------------------------------

    def _of_cell(self, cell: str) -> Shown:
        if self._shown is None or self._shown.cell != cell:
            self._shown = Shown(cell, self.tty)
        return self._shown

    def _cell_closed(self, event: CellClosed) -> str:
        said = self._print(self._of_cell(event.cell).finish(event.outputs)) + self._line()
        self._cells.add(event.cell)
        self._shown = None
        for file in event.files:
            if file.change != "deleted":
                said += self._ours(f"{file.change} file: {tame(file.path, colours=False)} ({file.size:,} bytes)")
        if event.words:
            said += self._ours(event.words, bad=event.outcome not in (CellOutcome.OK, CellOutcome.ERROR))
        return said

    def _turn_closed(self, event: TurnClosed) -> str:
        said = self._line()
        if event.outcome is TurnOutcome.ANSWERED:
            return said
        return said + self._ours(event.words or f"The turn has ended: {event.outcome.value}.", bad=True)

    # ---- lines ---------------------------------------------------------------------------------------------------

    def _ours(self, words: str, *, bad: bool = False) -> str:
        """A line that is neither the model's nor the cell's."""
        words = tame(words, colours=False)
        return self._line() + self._print(f"{RED if bad else DIM}{words}{RESET}\n" if self.tty else f"[{words}]\n")

    def _line(self) -> str:
        """Begin a line unless at the beginning of one."""
        return self._print("\n") if self._column else ""

    def _print(self, text: str) -> str:
        seen = _COLOUR.sub("", text)
        if seen:
            self._column = 0 if seen.endswith("\n") else 1
        return text


class Shown:
    """One cell's outputs on the screen: how much of which item is printed."""

    def __init__(self, cell: str, tty: bool) -> None:
        self.cell = cell
        self._tty = tty
        self._outputs: list[Output] = []
        self._at = 0  # the item that is being printed
        self._printed = ""  # what of its text is on the screen
        self._n = 0

    def output(self, event: CellOutput) -> str:
        if event.n < self._n:
            return ""
        self._n = event.n + 1
        for op in event.ops:
            match op:
                case Put(index=index, output=output):
                    self._outputs[index:] = [output, *self._outputs[index + 1 :]]
                case Write(index=index, at=at, text=text):
                    self._write(index, at, text)
                case Wipe():
                    self._outputs.clear()
        return self._progress(whole=False)

    def finish(self, outputs: list[Output]) -> str:
        """The cell has ended: what of its final outputs is not on the screen yet."""
        self._outputs = list(outputs)
        return self._progress(whole=True)

    def _write(self, index: int, at: int, text: str) -> None:
        if index < len(self._outputs):
            item = self._outputs[index]
            if isinstance(item, TextOutput):
                self._outputs[index] = item.model_copy(update={"text": item.text[:at] + text})

    def _progress(self, *, whole: bool) -> str:
        said = ""
        if self._at >= len(self._outputs) and self._printed:  # wiped: what is on the screen stays there
            self._at, self._printed = 0, ""
            said = "\n"
        while self._at < len(self._outputs):
            last = self._at == len(self._outputs) - 1
            said += self._item(_text_of(self._outputs[self._at]), whole=whole or not last)
            if last and not whole:
                break
            self._at, self._printed = self._at + 1, ""
        return said

    def _item(self, text: str, *, whole: bool) -> str:
        """From what is printed of an item to `text`. A file gets whole lines until no more can change."""
        if not (self._tty or whole):
            text = text[: text.rfind("\n") + 1]
        printed, self._printed = self._printed, text
        if text.startswith(printed):
            return tame(text[len(printed) :], colours=self._tty)
        kept = printed.rfind("\n") + 1
        if not text.startswith(printed[:kept]):  # more than the last line was redrawn: print it again from where it differs
            kept = text.rfind("\n", 0, _common(text, printed)) + 1
            return "\n" + tame(text[kept:], colours=self._tty)
        redraw = "\r\x1b[K" if self._tty else "\n"
        return redraw + tame(text[kept:], colours=self._tty)


def _common(one: str, other: str) -> int:
    """How many characters both begin with."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _text_of(output: Output) -> str:
    """An output as lines of text."""
    match output:
        case TextOutput(text=text):
            return text
        case ErrorOutput(ename=ename, evalue=evalue, traceback=traceback):
            return (traceback or f"{ename}: {evalue}").rstrip("\n") + "\n"
        case OmittedOutput(size=size):
            return f"[{size:,} bytes of output left out]\n"
        case RichOutput(data=data):
            picture = next((kind for kind in data if kind.startswith("image/")), None)
            plain = data.get("text/plain") or data.get("text/markdown")
            shown = plain if isinstance(plain, str) and not picture else f"[{picture or ', '.join(sorted(data))}]"
            return shown.rstrip("\n") + "\n"
