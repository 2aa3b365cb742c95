"""The executor's contract: what it is asked, and what it tells while code runs.

Imported by the orchestrator; everything else in this package is the executor's own business. Over HTTP a run is a
`POST` answered by one JSON object a line (NDJSON), each a `KernelEvent`; in embedded mode the same values are handed over
directly. A run is an ordered stream: any number of `Starting`, one `Started`, outputs in the order the kernel sent them,
and always exactly one `Closed` at the end, whatever went wrong.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Id = Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,64}$")]

Fence = Annotated[int, Field(ge=0, le=2**62)]


class Wire(BaseModel):
    """A value that crosses the boundary: immutable, and strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Outcome(StrEnum):
    """How a cell ended, as the executor saw it. `words` on `Closed` says it for people."""

    OK = "ok"
    ERROR = "error"  # the code raised; the kernel is fine
    INTERRUPTED = "interrupted"  # by the user's stop
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"  # either a MemoryError, or the kernel was killed: see variables_kept
    KERNEL_DIED = "kernel_died"
    SANDBOX_LOST = "sandbox_lost"  # gateway or whole sandbox went away
    UNAVAILABLE = "unavailable"  # no sandbox could be made; the code did not run


class Rung(StrEnum):
    """How far the ladder had to be climbed to stop a cell. From `restart` on its variables are gone."""

    NONE = "none"  # nobody had to stop it
    INTERRUPT = "interrupt"
    INTERRUPT_AGAIN = "interrupt_again"
    RESTART = "restart"  # of Python
    KILL = "kill"  # of the sandbox


class KernelState(StrEnum):
    """What there is for a conversation right now."""

    NONE = "none"  # no sandbox yet, or not any more
    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    RESTARTING = "restarting"


class FileChange(Wire):
    """One file of the workspace that differs from before the cell. Paths are relative to the workspace, POSIX."""

    path: str
    change: Literal["new", "changed", "deleted"]
    size: int  # bytes; 0 when deleted


class RunRequest(Wire):
    """Run one cell. `conversation` and `cell` are ids of [A-Za-z0-9_-]{1,64}; anything else is refused. `fence` is that of
    the caller's lease; without one, a lease is taken in the caller's name (`X-Owner`) when nobody else has it.

    With `allow_stdin` the code may ask for input (`Asked`); without, asking raises an error that says so. Time that code
    waits for a reply does not count towards `timeout_s`; it has limits of its own (`executor.questions`)."""

    conversation: Id
    cell: Id
    code: str
    timeout_s: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    allow_stdin: bool = False
    fence: Fence | None = None


class Starting(Wire):
    """The sandbox is being made ready; `phase` is for people ("starting the sandbox", "starting Python")."""

    type: Literal["starting"] = "starting"
    phase: str


class Started(Wire):
    """The cell was handed to the kernel. `fresh` is true for the first cell of a new kernel, whose namespace is empty.
    `lost` then says, for people, why variables that there were before are gone; it is empty when there were none, or when
    a Closed has said so."""

    type: Literal["started"] = "started"
    fresh: bool
    lost: str = ""


class Stream(Wire):
    """Text on stdout or stderr, as written: ANSI sequences and carriage returns untouched. `late` marks text that an
    earlier cell's threads printed after that cell had ended. `gap` counts the bytes left out for size just before it."""

    type: Literal["stream"] = "stream"
    name: Literal["stdout", "stderr"]
    text: str
    late: bool = False
    gap: int = 0


class Display(Wire):
    """A rich output: a mime bundle kept whole. `update` replaces every earlier display with the same `display_id`."""

    type: Literal["display"] = "display"
    data: dict[str, Any]
    metadata: dict[str, Any] = {}
    display_id: str | None = None
    update: bool = False


class Clear(Wire):
    """`clear_output`; with `wait`, only once the next output arrives."""

    type: Literal["clear"] = "clear"
    wait: bool = False


class Raised(Wire):
    """The code raised. `traceback` holds ANSI-coloured blocks of lines as IPython writes them."""

    type: Literal["raised"] = "raised"
    ename: str
    evalue: str
    traceback: list[str]


class Asked(Wire):
    """The code waits for a line of text (`input`, or `getpass` when `password`); a reply names this question by its `id`.
    Comes only when the run allows it. Nobody waits for a reply to an earlier question any more."""

    type: Literal["asked"] = "asked"
    id: str
    prompt: str
    password: bool


class Closed(Wire):
    """The cell has ended; nothing of it runs any more. `words` says why, and what survived, for people and model alike
    (empty when the outcome is ok or a plain error). `dropped_bytes` counts output that was left out for size. `ran`: the
    code was handed to the kernel; `raised`: the class of the exception it ended with; `rung`: what it took to stop it.
    `cpu_s`: CPU seconds that the sandbox has had since its last cell ended, or since it became this conversation's; all
    that it can have had while the cell ran, where its counters ended with it; None where this host does not count. `disk`:
    bytes of the workspace, as of some seconds ago, where it is watched."""

    type: Literal["closed"] = "closed"
    outcome: Outcome
    execution_count: int | None
    duration_s: float
    variables_kept: bool
    files_kept: bool
    words: str
    dropped_bytes: int = 0
    files: list[FileChange] = []
    ran: bool = True
    raised: str = ""
    rung: Rung = Rung.NONE
    cpu_s: float | None = None
    disk: int | None = None


KernelEvent = Annotated[
    Starting | Started | Stream | Display | Clear | Raised | Asked | Closed, Field(discriminator="type")
]


class SandboxStatus(Wire):
    """The state of one conversation's sandbox. Memory in bytes, None where it cannot be known. `note` says, until the next
    cell, what became of one that ran while the executor was restarted."""

    state: KernelState
    note: str = ""
    memory_used: int | None = None
    memory_limit: int | None = None
    holds_variables: bool = False  # a cell has run in this kernel


class SandboxLine(Wire):
    """One conversation's sandbox among all that there are. `idle_s`: how long no cell has run in it, 0 while one does.
    Sizes in bytes; None where it cannot be known."""

    conversation: Id
    state: KernelState
    idle_s: float
    memory_used: int | None
    cpu_s: float | None
    disk: int | None


class Settled(Wire):
    """What a conversation's sandbox has used beside its cells since that was last told: `cpu_s`, CPU seconds of threads
    that went on (0 while a cell runs, which will tell them). `disk`: bytes of the workspace, as of some seconds ago."""

    conversation: Id
    cpu_s: float
    disk: int | None


class Feature(Wire):
    """One isolation feature, for `readyz` and `doctor`."""

    name: str
    state: Literal["on", "off", "unavailable"]
    detail: str = ""


class Health(Wire):
    """Whether sandboxes can be made here; `words` names what is missing and how to mend it when not."""

    ok: bool
    words: str
    features: list[Feature] = []
