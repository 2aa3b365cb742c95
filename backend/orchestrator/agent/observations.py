"""What the model is told of a cell's end, and of code that never ran."""

from __future__ import annotations

import re
from collections.abc import Sequence

from executor.wire import FileChange
from orchestrator.agent.clipping import clip
from orchestrator.agent.terminal import plain, uncoloured
from orchestrator.protocol.events import CellClosed, CellOutcome, StepClosed, StepFinish, TurnOutcome
from orchestrator.protocol.outputs import ErrorOutput, OmittedOutput, Output, RichOutput, TextOutput

OUTPUT_LIMIT = 6_000
"""Characters of one cell's outputs that the model reads."""
TRACEBACK_LIMIT = 2_400
_FRAME = re.compile(r"^(?=Cell In\[|File )", re.MULTILINE)
"""Where a frame begins in a traceback as IPython writes it."""
MAX_FILES = 10

NOTHING = "[The code ran without output.]"
IMAGE = "[An image is shown to the user.]"
FRESH = "[The sandbox was started anew: variables of earlier cells are gone; files are kept.]"
FABRICATED = "[Nothing has run: outputs are not yours to write. To see one, write the code that prints it. {remind}]"
CUT_OFF = "[The code was cut off before it was complete (a message may only have so many tokens), so it was NOT run. \
Write it shorter, in several steps if need be. {remind}]"
UNREADABLE = "[{error}]"


def for_model(outputs: Sequence[Output], limit: int = OUTPUT_LIMIT) -> str:
    """Outputs as text of about `limit` characters at most: no colours, no binary data. Empty when there is nothing."""
    parts = [text for text in map(_text, outputs) if text]
    return clip("\n".join(part.strip("\n") for part in parts), limit)


def observation(cell: CellClosed, limit: int = OUTPUT_LIMIT) -> str:
    """What came of a cell: the same facts and words that the user sees."""
    shown = for_model(cell.outputs, limit)
    ran = cell.outcome is not CellOutcome.UNAVAILABLE
    parts = [
        f"[{cell.lost}]" if cell.lost else FRESH if cell.fresh else "",
        shown if shown.strip() or not ran or cell.words else NOTHING,
        f"[{cell.words}]" if cell.words else "",
        _files(cell.files),
    ]
    return "\n".join(part for part in parts if part)


def not_run(step: StepClosed, remind: str) -> str | None:
    """Why code that was begun, or an output that was made up, led to no run; None for every other message."""
    match step.finish:
        case StepFinish.FABRICATED:
            return FABRICATED.format(remind=remind)
        case StepFinish.CUT_OFF if step.error:
            return UNREADABLE.format(error=step.error)
        case StepFinish.CUT_OFF if step.code:
            return CUT_OFF.format(remind=remind)
        case _:
            return None


def ended(step: StepClosed | None, outcome: TurnOutcome) -> str:
    """What to say of the last message when its turn ended before anything came of it."""
    what = "before the code ran" if step and step.code else "here" if step else "before you answered"
    match outcome:
        case TurnOutcome.STOPPED:
            return f"[The user stopped this {what}.]"
        case TurnOutcome.MODEL_FAILED:
            return f"[The model server failed {what}.]" if step else ""
        case TurnOutcome.LOST:
            return f"[The server was restarted {what}.]"
        case _:
            return f"[The turn ended {what}.]"


def result_key(outcome: CellOutcome, outputs: Sequence[Output]) -> tuple[object, ...]:
    """Equal for cells that came out the same. Tracebacks are left out: they hold the number of the run."""
    return (outcome, *(_fact(output) for output in outputs))


def _fact(output: Output) -> object:
    match output:
        case ErrorOutput(ename=ename, evalue=evalue):
            return (ename, evalue)
        case RichOutput(data=data):
            return str(sorted(data.items()))
        case _:
            return output


def _text(output: Output) -> str:
    match output:
        case TextOutput(text=text):
            return uncoloured(text)
        case RichOutput():
            return _rich(output)
        case ErrorOutput():
            return _error(output)
        case OmittedOutput(size=size):
            return f"[… {size} bytes left out …]"


def _rich(output: RichOutput) -> str:
    if any(kind.startswith("image/") for kind in output.data):
        return IMAGE
    for kind in ("text/plain", "text/markdown", "text/latex"):
        if isinstance(text := output.data.get(kind), str | list):
            return uncoloured(plain(text if isinstance(text, str) else "".join(map(str, text))))
    kinds = ", ".join(sorted(output.data)[:5])
    return f"[An output of type {kinds} is shown to the user.]" if kinds else ""


def _error(error: ErrorOutput) -> str:
    """The frames of the model's own code and the error: they say what to mend. A library's frames do not, and reading them
    costs a small model's server longer than the cell took."""
    text = uncoloured(error.traceback).strip("\n") or f"{error.ename}: {error.evalue}"
    own = [frame.strip("\n") for frame in _FRAME.split(text) if frame.startswith("Cell In[")]
    message = text[text.rfind(f"\n{error.ename}") + 1 :]
    if own and message.startswith(error.ename):
        own[-1] = own[-1].removesuffix(message).strip("\n")
        text = "\n".join([*own, message])
    return clip(text, TRACEBACK_LIMIT, head=0.2)


def _files(files: Sequence[FileChange]) -> str:
    if not files:
        return ""
    named = ", ".join(f"{file.path[:200]} ({file.change})" for file in files[:MAX_FILES])
    more = f" and {len(files) - MAX_FILES} more" if len(files) > MAX_FILES else ""
    return f"[Files: {named}{more}]"
