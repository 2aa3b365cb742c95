"""What a conversation looks like: the fold of its events.

The same fold exists in TypeScript (`frontend/src/conversation/fold.ts`); `tests/streams/` binds the two. Its laws:

- `apply(view, event)` is total: any event in any order, twice or never, leaves a well-formed view and raises nothing.
- Durable events with `seq` <= `view.seq` are ignored.
- A delta that starts before the known end is cut to its new part; one that starts after it, or a `CellOutput` whose `n` is
  ahead, sets `gap` (the reader loads the page again); live events of closed steps, cells or turns are ignored.
- Joining late is seeing it all: for any split of a stream, `fold(durable before) + Live + frames after` equals `fold(all)`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from executor.wire import FileChange, KernelState
from orchestrator.protocol.base import Id, Value
from orchestrator.protocol.events import CellOutcome, StepFinish, TurnOutcome, Via
from orchestrator.protocol.outputs import Output


class CellState(StrEnum):
    WRITING = "writing"  # the model is writing its code
    WRITTEN = "written"  # the code is complete and about to run
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    CLOSED = "closed"  # it ran; see outcome
    NOT_RUN = "not_run"  # its code was not completed, so it never ran; see the step's finish


class Prose(Value):
    """Markdown that the model wrote in one step. `finish` is None while it is being written."""

    kind: Literal["prose"] = "prose"
    step: int
    text: str
    finish: StepFinish | None


class Cell(Value):
    """One code action and what became of it. `n`: number of the next CellOutput; -1 once closed."""

    kind: Literal["cell"] = "cell"
    step: int
    cell: Id
    code: str
    state: CellState
    phase_words: str
    finish: StepFinish | None
    started_at: float | None
    outcome: CellOutcome | None
    outputs: list[Output]
    n: int
    execution_count: int | None
    duration_s: float | None
    variables_kept: bool
    files_kept: bool
    fresh: bool
    lost: str
    words: str
    files: list[FileChange]


Item = Annotated[Prose | Cell, Field(discriminator="kind")]


class TurnState(StrEnum):
    WAITING = "waiting"  # for the model
    WRITING = "writing"
    RUNNING = "running"  # a cell is queued, starting or running
    STOPPING = "stopping"
    CLOSED = "closed"


class Turn(Value):
    """One message of the user and all that followed. `error` is the last step's error, if it failed. `next_step` is the
    number of the first step that is not closed."""

    turn: Id
    text: str
    via: Via
    opened_at: float
    closed_at: float | None
    state: TurnState
    items: list[Item]
    next_step: int
    outcome: TurnOutcome | None
    words: str
    error: str


class Kernel(Value):
    state: KernelState
    words: str
    memory_used: int | None
    memory_limit: int | None


class View(Value):
    """The whole conversation. `gap`: something live was missed, load the page again."""

    seq: int
    turns: list[Turn]
    kernel: Kernel
    gap: bool


EMPTY = View(
    seq=0, turns=[], kernel=Kernel(state=KernelState.NONE, words="", memory_used=None, memory_limit=None), gap=False
)
