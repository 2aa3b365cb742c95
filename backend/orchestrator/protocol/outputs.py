"""What a cell has put out, as it is shown and stored, and the steps by which it grows while the cell runs.

The list is the normalised view of the kernel's messages: consecutive text of one stream is one item, carriage returns and
backspaces are already applied, displays that were updated hold their newest content. Colours (ANSI SGR) are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from orchestrator.protocol.base import Value


class TextOutput(Value):
    """Text on stdout or stderr. `late`: printed by an earlier cell's threads after that cell had ended."""

    kind: Literal["text"] = "text"
    name: Literal["stdout", "stderr"]
    text: str
    late: bool


class RichOutput(Value):
    """A mime bundle kept whole: `data` maps mime type to content (base64 for binary types, as Jupyter does)."""

    kind: Literal["rich"] = "rich"
    data: dict[str, Any]
    metadata: dict[str, Any]
    display_id: str | None


class ErrorOutput(Value):
    """The code raised. `traceback` is ANSI-coloured text, one string."""

    kind: Literal["error"] = "error"
    ename: str
    evalue: str
    traceback: str


class OmittedOutput(Value):
    """A place where output was left out for size; `size` counts the bytes."""

    kind: Literal["omitted"] = "omitted"
    size: int


Output = Annotated[TextOutput | RichOutput | ErrorOutput | OmittedOutput, Field(discriminator="kind")]


class Put(Value):
    """The item at `index` is now `output`; `index` equal to the length appends."""

    op: Literal["put"] = "put"
    index: int
    output: Output


class Write(Value):
    """The text of the text item at `index` is cut to its first `at` characters, then `text` is appended.

    Appending is `at` = length; a carriage return that redraws a progress bar is a smaller `at`.
    `at` counts Unicode code points.
    """

    op: Literal["write"] = "write"
    index: int
    at: int
    text: str


class Wipe(Value):
    """All outputs so far are gone (`clear_output`)."""

    op: Literal["wipe"] = "wipe"


OutputOp = Annotated[Put | Write | Wipe, Field(discriminator="op")]


def apply_ops(outputs: Sequence[Output], ops: Iterable[OutputOp]) -> list[Output]:
    """The outputs after `ops`. Total: an op that does not fit (an index beyond the end, a Write to what is no text) changes
    nothing."""
    result = list(outputs)
    for op in ops:
        match op:
            case Put(index=index, output=output) if 0 <= index < len(result):
                result[index] = output
            case Put(index=index, output=output) if index == len(result):
                result.append(output)
            case Write(index=index, at=at, text=text) if 0 <= index < len(result):
                target = result[index]
                if isinstance(target, TextOutput):
                    whole = target.text[: max(0, at)] + text
                    result[index] = TextOutput(name=target.name, text=whole, late=target.late)
            case Wipe():
                result.clear()
            case _:
                pass
    return result
