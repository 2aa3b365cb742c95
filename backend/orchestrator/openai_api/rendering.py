"""A turn as one Markdown text that only ever grows: prose as the model wrote it, code and outputs in fences.

Pure: events in, text out. Feeding the deltas and then the durable events gives the same text as the durable events alone,
so a reader who missed something catches up from the store. Outputs appear when their cell has closed, because what is
still being redrawn (a progress bar) cannot be taken back from a text that has been sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, assert_never

from orchestrator.agent.clipping import clip
from orchestrator.agent.terminal import uncoloured
from orchestrator.protocol.events import (
    CellClosed,
    CodeDelta,
    Event,
    StepClosed,
    StepFinish,
    TextDelta,
    TurnClosed,
    TurnOutcome,
    Usage,
)
from orchestrator.protocol.outputs import ErrorOutput, OmittedOutput, Output, RichOutput, TextOutput

MAX_OUTPUT = 4_000
"""Characters of one output in the text; the cell in `codeact.cells` has all of it."""
MAX_OUTPUTS = 16_000
"""Characters of all outputs of one cell in the text."""

NOT_RUN = {
    StepFinish.CUT_OFF: "the message was cut off before the code was complete",
    StepFinish.STOPPED: "the turn was stopped",
    StepFinish.FAILED: "the model failed",
    StepFinish.LOST: "the server went away",
}


@dataclass
class Markdown:
    """`feed` returns what the text gains. `cells`: what ran so far; `closed`: the turn's end, once it has come."""

    cells: list[dict[str, Any]] = field(default_factory=list)
    closed: TurnClosed | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    _step: int = 0
    _prose: int = 0  # characters of the open step's prose that are in the text
    _begun: bool = False  # whether any of them is more than an empty line
    _code: int | None = None  # likewise of its code; None: no code yet
    _written: str = ""  # code of the last closed step
    _end: str = "\n\n"  # the last characters of the text; a new block needs an empty line before it

    def feed(self, event: Event) -> str:
        match event:
            case TextDelta(step=step, offset=offset, text=text):
                return self._delta(step, offset, text, code=False)
            case CodeDelta(step=step, offset=offset, text=text):
                return self._delta(step, offset, text, code=True)
            case StepClosed():
                return self._step_closed(event) if event.step == self._step else ""
            case CellClosed():
                return self._cell_closed(event)
            case TurnClosed():
                return self._turn_closed(event)
            case _:
                return ""

    def _delta(self, step: int, offset: int, text: str, *, code: bool) -> str:
        known = (self._code or 0) if code else self._prose
        if step != self._step or offset > known or offset + len(text) <= known:
            return ""  # closed already, a gap that the closed step fills, or known
        return self._write_code(text[known - offset :]) if code else self._write_prose(text[known - offset :])

    def _write_prose(self, text: str) -> str:
        self._prose += len(text)
        if not self._begun:  # a step's first line stands after an empty one, however many the model wrote
            text = text.lstrip("\n")
            self._begun = bool(text)
            text = self._gap() + text if text else ""
        return self._add(text)

    def _write_code(self, text: str) -> str:
        opening = "" if self._code is not None else f"{self._gap()}```python\n"
        self._code = (self._code or 0) + len(text)
        return self._add(opening + text)

    def _step_closed(self, event: StepClosed) -> str:
        """What the deltas have not said, and the end of the code."""
        said = self._delta(event.step, 0, event.prose, code=False) if self._code is None else ""
        if event.code is not None:
            said += self._delta(event.step, 0, event.code.code, code=True)
            if self._code is None:  # an empty action
                said += self._write_code("")
            said += self._add("```\n" if self._end.endswith("\n") else "\n```\n")
            if why := NOT_RUN.get(event.finish):
                said += self._note(f"This code was not run: {why}.")
        self._count(event.usage)
        self._written = event.code.code if event.code else ""
        self._step, self._prose, self._begun, self._code = event.step + 1, 0, False, None
        return said

    def _cell_closed(self, event: CellClosed) -> str:
        if any(cell["id"] == event.cell for cell in self.cells):
            return ""
        self.cells.append(
            {
                "id": event.cell,
                "code": self._written,
                "outcome": event.outcome.value,
                "outputs": [output.model_dump(mode="json") for output in event.outputs],
                "duration_s": event.duration_s,
            }
        )
        said = "".join(self._add(self._gap() + block) for block in blocks(event.outputs))
        return said + (self._note(event.words) if event.words else "")

    def _turn_closed(self, event: TurnClosed) -> str:
        if self.closed is not None:
            return ""
        self.closed = event
        return self._note(event.words) if event.words and event.outcome is not TurnOutcome.ANSWERED else ""

    def _note(self, words: str) -> str:
        """Words that are ours, not the model's: in italics."""
        return self._add(f"{self._gap()}*{words.strip()}*\n")

    def _gap(self) -> str:
        return "\n" * (2 - (len(self._end) - len(self._end.rstrip("\n"))))

    def _add(self, text: str) -> str:
        self._end = (self._end + text)[-2:]
        return text

    def _count(self, usage: Usage | None) -> None:
        if usage is not None:
            self.prompt_tokens += usage.prompt_tokens or 0
            self.completion_tokens += usage.completion_tokens or 0
            self.cached_tokens += usage.cached_tokens or 0


def blocks(outputs: list[Output]) -> list[str]:
    """A cell's outputs as Markdown blocks, each ending a line; long ones clipped, and no more than can be read."""
    shown: list[str] = []
    room = MAX_OUTPUTS
    for number, output in enumerate(_joined(outputs)):
        if room <= 0:
            shown.append(f"*[… {len(outputs) - number} more outputs left out …]*\n")
            break
        block = _block(output)
        room -= len(block)
        shown.append(block)
    return shown


def _joined(outputs: list[Output]) -> list[Output]:
    """stdout and stderr in the order they came, as one text, as a terminal shows them."""
    joined: list[Output] = []
    for output in outputs:
        last = joined[-1] if joined else None
        if isinstance(output, TextOutput) and isinstance(last, TextOutput):
            joined[-1] = last.model_copy(update={"text": last.text + output.text})
        else:
            joined.append(output)
    return joined


def _block(output: Output) -> str:
    match output:
        case TextOutput(text=text):
            return fenced(text)
        case ErrorOutput(traceback=traceback, ename=ename, evalue=evalue):
            return fenced(traceback or f"{ename}: {evalue}")
        case OmittedOutput(size=size):
            return f"*[{size:,} bytes of output left out]*\n"
        case RichOutput(data=data):
            return _rich(data)
        case _:
            assert_never(output)


def _rich(data: dict[str, Any]) -> str:
    picture = next((kind for kind in data if kind.startswith("image/")), None)
    if picture is not None:
        return f"*[a picture: {picture}]*\n"
    for kind in ("text/markdown", "text/latex"):
        if isinstance(data.get(kind), str):
            return clip(data[kind], MAX_OUTPUT).rstrip("\n") + "\n"
    if isinstance(data.get("text/plain"), str):
        return fenced(data["text/plain"])
    return f"*[{', '.join(sorted(data)) or 'an empty output'}]*\n"


def fenced(text: str) -> str:
    """A text block whose fence is longer than any in the text; colours removed, clipped."""
    text = clip(uncoloured(text), MAX_OUTPUT).rstrip("\n")
    longest = max((len(ticks) for ticks in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}text\n{text}\n{fence}\n"
