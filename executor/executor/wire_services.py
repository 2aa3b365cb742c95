"""The contract's second part: what can be asked about a conversation's kernel and sandbox beside running cells.

Nothing here starts a sandbox. Every answer says by its `state` whether it is one: only with `ok` it holds anything.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from executor.wire import KernelState, Wire

MAX_CODE = 1024**2  # characters of code that an editor may send
MAX_REPLY = 64 * 1024  # characters of a reply to `input()`


class Answer(StrEnum):
    """How asking a kernel went."""

    OK = "ok"
    NONE = "none"  # there is no sandbox
    STARTING = "starting"  # the sandbox or its Python is being started
    BUSY = "busy"  # no answer in time: most likely a cell keeps Python to itself
    REPLACED = "replaced"  # a newer question of this kind came in between
    GARBLED = "garbled"  # what came back is not in order


class Variable(Wire):
    """One name of the namespace. `type` is its class's name; `shape` as numpy counts, or the length; `size` in bytes,
    about; `preview` one line, empty for classes of which nothing can be said without running their code. All of it is what
    the kernel says, so it may be untrue; it is text without control characters."""

    name: str
    type: str
    shape: tuple[int, ...] | None
    size: int | None
    preview: str


class Variables(Wire):
    """The variables last made, the oldest of them first; `left_out` were made before those."""

    state: Answer
    variables: tuple[Variable, ...] = ()
    left_out: int = 0


class CompleteRequest(Wire):
    """`cursor` counts characters from the beginning of `code`."""

    code: Annotated[str, Field(max_length=MAX_CODE)]
    cursor: Annotated[int, Field(ge=0, le=MAX_CODE)]


class Completions(Wire):
    """What could stand in place of code[start:end]."""

    state: Answer
    matches: tuple[str, ...] = ()
    start: int = 0
    end: int = 0


class InspectRequest(CompleteRequest):
    """With `detail` 1 the source code is told too."""

    detail: Annotated[int, Field(ge=0, le=1)] = 0


class Inspection(Wire):
    """What is known of the name at the cursor, or of the function that is being called there; parts that are not known
    are empty. The name was looked up, not evaluated: `found` is false where that would have taken the conversation's own
    code."""

    state: Answer
    found: bool = False
    type: str = ""
    signature: str = ""
    value: str = ""
    doc: str = ""
    source: str = ""


class InputReply(Wire):
    """A reply to the question `ask` (`Asked.id`)."""

    ask: Annotated[str, Field(max_length=64)]
    text: Annotated[str, Field(max_length=MAX_REPLY)]


class SandboxUse(Wire):
    """What a sandbox uses; None where it cannot be known. `cpu` is the share of one CPU since the line before (up to
    `cpu_limit`), memory and disk are in bytes. `state` none: it has ended, and this is the last line."""

    state: KernelState
    cpu: float | None = None
    cpu_limit: float | None = None
    memory: int | None = None
    memory_limit: int | None = None
    pids: int | None = None
    pids_limit: int | None = None
    disk: int | None = None
    disk_limit: int | None = None
