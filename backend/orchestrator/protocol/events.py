"""What happened in a conversation.

Durable events are facts: each has a `seq`, contiguous per conversation from 1, is stored before it is told, and carries
full text. Live events are for the eye: they show text, code and output while these grow, are never stored one by one, and
lose nothing when missed, because the durable event that closes a step or a cell says everything again.

A turn:  turn.opened · ( step.opened* · text.delta* · code.delta* · step.closed · cell.opened · cell.progress* ·
         cell.output* · cell.closed )* · turn.closed   (* live; a step has at most one cell, at its end)

Live events are idempotent: deltas carry the offset they start at (in Unicode code points), outputs a running number.
One that is already known, or belongs to something closed, is ignored; a gap means "load the page's data again".
Times are Unix seconds; durations are seconds.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from executor.wire import FileChange, KernelState
from orchestrator.protocol.base import Id, Value
from orchestrator.protocol.outputs import Output, OutputOp


class Via(StrEnum):
    """The door a turn came in by."""

    BROWSER = "browser"
    API = "api"
    TERMINAL = "terminal"


class StepFinish(StrEnum):
    """Why the model's message ended. Only `code` leads to a run."""

    ANSWER = "answer"  # no code: this is the reply
    CODE = "code"  # a complete code action; it is run
    CUT_OFF = "cut_off"  # the token limit; open code is never run
    FABRICATED = "fabricated"  # the model began to write its own observation; cut there
    STOPPED = "stopped"  # by the user, or by a limit of the turn
    FAILED = "failed"  # the model server failed; `error` says how
    LOST = "lost"  # the server went away while the model wrote


class CellOutcome(StrEnum):
    """How a cell ended: the executor's outcomes, and two that only the orchestrator knows."""

    OK = "ok"
    ERROR = "error"
    INTERRUPTED = "interrupted"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    KERNEL_DIED = "kernel_died"
    SANDBOX_LOST = "sandbox_lost"
    UNAVAILABLE = "unavailable"
    LOST = "lost"  # the server went away while it ran; it is not run again


class TurnOutcome(StrEnum):
    """How a turn ended. All but `answered` can be continued."""

    ANSWERED = "answered"
    STOPPED = "stopped"
    EXECUTION_LIMIT = "execution_limit"
    TIME_LIMIT = "time_limit"
    TOKEN_LIMIT = "token_limit"  # noqa: S105 (tokens of a model)
    REPEATING = "repeating"  # the same code with the same result, again and again
    MODEL_FAILED = "model_failed"
    SANDBOX_FAILED = "sandbox_failed"  # no sandbox can be made here
    LOST = "lost"  # the server went away


class Usage(Value):
    """Tokens of one model request, as the model server counted them (None where it does not say)."""

    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None


class WrittenCode(Value):
    """A code action in the model's message. `opening` + code + `closing` are the exact characters the model wrote (with
    the closing tag restored where the server strips it), so that history can be sent back byte for byte."""

    cell: Id
    code: str
    opening: str
    closing: str


class TurnOpened(Value):
    """A message was accepted and stored. `text` is empty when the turn continues the one before."""

    type: Literal["turn.opened"] = "turn.opened"
    seq: int
    turn: Id
    at: float
    text: str
    via: Via


class StepClosed(Value):
    """The model's message number `step` of this turn (from 0) is complete: prose, then at most one code action."""

    type: Literal["step.closed"] = "step.closed"
    seq: int
    turn: Id
    step: int
    prose: str
    code: WrittenCode | None
    finish: StepFinish
    error: str
    usage: Usage | None


class CellOpened(Value):
    """The code of step `step` is about to run, for the first and only time."""

    type: Literal["cell.opened"] = "cell.opened"
    seq: int
    turn: Id
    cell: Id
    step: int
    at: float


class CellClosed(Value):
    """The cell has ended. `words` explains everything but plain success or error, and what survived, to the user and to the
    model alike. `fresh` says that the cell began in a new kernel although earlier cells had left variables; `lost` says why
    these are gone, where that was not said before."""

    type: Literal["cell.closed"] = "cell.closed"
    seq: int
    turn: Id
    cell: Id
    at: float
    outcome: CellOutcome
    outputs: list[Output]
    execution_count: int | None
    duration_s: float
    variables_kept: bool
    files_kept: bool
    fresh: bool
    lost: str = ""
    words: str
    files: list[FileChange]


class TurnClosed(Value):
    """The turn is over. `words` says why when it is not simply answered."""

    type: Literal["turn.closed"] = "turn.closed"
    seq: int
    turn: Id
    at: float
    outcome: TurnOutcome
    words: str


DurableEvent = Annotated[TurnOpened | StepClosed | CellOpened | CellClosed | TurnClosed, Field(discriminator="type")]


class StepOpened(Value):
    """The model was asked; nothing has come yet."""

    type: Literal["step.opened"] = "step.opened"
    turn: Id
    step: int


class TextDelta(Value):
    """Prose being written. `offset`: length of the step's prose before this text."""

    type: Literal["text.delta"] = "text.delta"
    turn: Id
    step: int
    offset: int
    text: str


class CodeDelta(Value):
    """Code being written. `offset`: length of the step's code before this text."""

    type: Literal["code.delta"] = "code.delta"
    turn: Id
    step: int
    cell: Id
    offset: int
    text: str


class CellPhase(StrEnum):
    """Where a cell is between its code and its end."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"


class CellProgress(Value):
    """The cell has moved on; `words` is empty or says what is being waited for."""

    type: Literal["cell.progress"] = "cell.progress"
    turn: Id
    cell: Id
    phase: CellPhase
    words: str


class CellOutput(Value):
    """The cell's outputs changed. `n` counts these events of the cell from 0; `ops` apply in order."""

    type: Literal["cell.output"] = "cell.output"
    turn: Id
    cell: Id
    n: int
    ops: list[OutputOp]


class TurnStopping(Value):
    """Stop was heard; what runs is being ended."""

    type: Literal["turn.stopping"] = "turn.stopping"
    turn: Id


class KernelChanged(Value):
    """The conversation's sandbox is in another state. Memory in bytes."""

    type: Literal["kernel.changed"] = "kernel.changed"
    state: KernelState
    words: str
    memory_used: int | None
    memory_limit: int | None


LiveEvent = Annotated[
    StepOpened | TextDelta | CodeDelta | CellProgress | CellOutput | TurnStopping | KernelChanged,
    Field(discriminator="type"),
]

Event = Annotated[
    TurnOpened
    | StepClosed
    | CellOpened
    | CellClosed
    | TurnClosed
    | StepOpened
    | TextDelta
    | CodeDelta
    | CellProgress
    | CellOutput
    | TurnStopping
    | KernelChanged,
    Field(discriminator="type"),
]


class Live(Value):
    """The part of an open turn that is not yet in a durable event: what a reader who joins now must know.

    Applied after the durable events, before the frames that follow the page's cursor; ignored where the step or cell it
    speaks of has been closed since.
    """

    turn: Id
    step: int
    prose: str
    code: str | None
    cell: Id | None
    phase: CellPhase | None
    words: str = ""  # of the phase, as in CellProgress
    outputs: list[Output]
    n: int  # the next CellOutput of the cell has this number
    stopping: bool
