"""What the agent needs from the world: Model, Kernel, Store, Bus. Read this first.

Adapters (one file per way to satisfy a port) are chosen by URL in `wiring.py`; one contract suite per port holds them to
what is written here.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from executor.wire import Health, KernelEvent, SandboxLine, SandboxStatus, Settled
from orchestrator.agent import signals
from orchestrator.protocol.events import DurableEvent, Live
from orchestrator.protocol.frames import ConversationSummary

# what the model streams is defined where the agent can see it
Message = signals.Message
Text = signals.Text
ToolCall = signals.ToolCall
Finished = signals.Finished
Failed = signals.Failed
ModelSignal = signals.ModelSignal


# ---- Model -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One streaming completion. `stop`: strings to stop at; `tools`: OpenAI tool definitions or empty."""

    messages: Sequence[Message]
    stop: tuple[str, ...]
    max_tokens: int
    temperature: float
    tools: tuple[dict[str, Any], ...] = ()
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """The state of one part of the system, for readyz. `words` names cause and next step when not ok."""

    name: str
    ok: bool
    words: str


class Model(Protocol):
    """A server that speaks the OpenAI chat API."""

    name: str

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelSignal, None]:
        """Ask once. Any number of Text/ToolCall, then exactly one Finished or Failed; never raises for what the server
        does. Closing the generator aborts the request at the server."""
        ...

    async def check(self) -> Part: ...

    async def close(self) -> None: ...


# ---- Kernel ----------------------------------------------------------------------------------------------------------


class Kernel(Protocol):
    """One sandboxed Jupyter kernel per conversation, made when first needed."""

    def run(self, conversation: str, cell: str, code: str, timeout_s: float) -> AsyncGenerator[KernelEvent, None]:
        """Run one cell; one at a time per conversation (a second waits its turn). Ends with exactly one Closed, whatever
        happens. Closing the generator early interrupts the cell; to learn how a stop went, call `interrupt` and read on.
        Raises KernelTaken, and nothing has run, when another server has claimed the kernel since this one did.
        """
        ...

    def claim(self, conversation: str) -> Awaitable[None] | None:
        """From now on this server drives the kernel, and who did before is refused. None: nobody else can. To be waited for
        before the cell is stored: then whoever takes the turn over later claims the kernel later, too, and the cell is
        refused or stopped. Failures show when the cell runs."""
        ...

    async def take_over(self, conversation: str) -> bool:
        """Claim the kernel of a server that died; what it still runs is stopped, and waited for. Whether variables are
        there. Raises KernelUnavailable, also while that server is seen to run its cell."""
        ...

    async def interrupt(self, conversation: str) -> None:
        """Stop the running cell, by ever harder means; its run ends with Closed within 10 s. No cell: nothing happens.
        Never raises: where the cell cannot be reached any more, its run ends all the same."""
        ...

    async def prepare(self, conversation: str) -> None:
        """Begin to make the sandbox ready, and return at once. Failures show when a cell runs."""
        ...

    async def restart(self, conversation: str) -> None:
        """An empty kernel, files kept. Returns when it is ready. Raises KernelUnavailable."""
        ...

    async def status(self, conversation: str) -> SandboxStatus:
        """Raises KernelUnavailable."""
        ...

    async def sandboxes(self) -> list[SandboxLine]:
        """Those of all conversations, whoever drives them. Raises KernelUnavailable."""
        ...

    async def settle(self) -> list[Settled]:
        """What sandboxes have used beside their cells since that was last told, to whomever. Raises KernelUnavailable."""
        ...

    async def end(self, conversation: str) -> None:
        """The sandbox is gone, whoever drives it, and the cell that it ran is closed; files stay. Raises
        KernelUnavailable."""
        ...

    async def remove(self, conversation: str) -> None:
        """Sandbox and files are gone for good. Raises KernelUnavailable."""
        ...

    async def check(self) -> Health: ...

    async def close(self) -> None:
        """End every sandbox; leave no process, mount, cgroup or socket behind."""
        ...


# ---- Store -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Page:
    """All that a conversation's page shows, as of one moment. `cursor` and `live` are the open turn's checkpoint; None
    when no turn is open."""

    summary: ConversationSummary
    events: list[DurableEvent]
    cursor: str | None
    live: Live | None


@dataclass(frozen=True, slots=True)
class PageJson:
    """A `Page` whose events and `live` are JSON as stored, for a long page that is joined rather than parsed."""

    summary: ConversationSummary
    events: Sequence[str]
    cursor: str | None
    live: str | None


@dataclass(frozen=True, slots=True)
class LeftOpen:
    """A turn whose owner, another life of a server, is dead."""

    conversation: str
    turn: str
    owner: str


@dataclass(frozen=True, slots=True)
class OpenTurn:
    """A turn that its owner left open."""

    conversation: str
    turn: str
    events: list[DurableEvent]  # of the whole conversation
    live: Live | None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far an open turn has got: what no durable event says yet, as of `cursor`."""

    conversation: str
    turn: str
    cursor: str
    live: Live


@dataclass(frozen=True, slots=True)
class Spent:
    """What facts have cost, at `at` (Unix seconds): tokens of the model, CPU time of the sandbox; and how many bytes the
    conversation's files now have (None: as before)."""

    at: float
    tokens: int = 0
    cpu_ms: int = 0
    disk: int | None = None


DEAD_S = 10.0
"""A server that has not said for so long that it lives is dead: its turns are anybody's."""


class Store(Protocol):
    """Facts. Every method is one transaction. Raises `StoreUnavailable` (errors.py) when the database does not answer.

    What people ask for names the `user`; a conversation of another user is the same as none. What drives turns has been let
    in before and names the conversation alone.
    """

    async def create_conversation(self, user: str, id: str, title: str, now: float) -> ConversationSummary | None:
        """Idempotent: an id that exists is returned as it is; None when it is another user's, or a deleted one's
        whose files are not gone yet."""
        ...

    async def conversations(self, user: str, limit: int, before: float | None) -> list[ConversationSummary]:
        """Newest first by `updated_at`."""
        ...

    async def summary(self, user: str, id: str) -> ConversationSummary | None: ...

    async def rename(self, user: str, id: str, title: str, now: float) -> ConversationSummary | None: ...

    async def delete(self, user: str, id: str) -> bool:
        """With all its turns, events and files; it is one of `removals` from now on. False, and nothing happens, when there
        is none or a turn of it is open."""
        ...

    async def removals(self, limit: int) -> list[str]:
        """Deleted conversations whose sandbox and files may still be there."""
        ...

    async def removed(self, id: str) -> None:
        """They are not there any more."""
        ...

    async def page(self, user: str, id: str) -> Page | None: ...

    async def page_json(self, user: str, id: str) -> PageJson | None: ...

    async def user_of(self, id: str) -> str | None:
        """Whose conversation it is, for what drives turns; None when there is none."""
        ...

    async def events(self, id: str) -> list[DurableEvent]: ...

    async def open_turn(
        self, conversation: str, event: DurableEvent, owner: str, cursor: str, title: str | None, most: int | None = None
    ) -> Literal["opened", "known", "busy", "unknown", "over"]:
        """Store a `turn.opened` (its seq must be the next) and mark the turn open, owned and checkpointed at `cursor`.
        `known`: this turn id exists already. `busy`: another turn of the conversation is open. `unknown`: no such
        conversation. `over`: the user has sent `most` messages on this day already; of many that are sent at once, no
        more than that are opened. A `title` replaces an empty one."""
        ...

    async def append(
        self, conversation: str, events: Sequence[DurableEvent], owner: str = "", spent: Spent | None = None
    ) -> None:
        """Store facts of the open turn, in order; a `turn.closed` among them closes it. What they have cost is counted with
        them, once, where the store counts. Raises `Conflict` when a seq is taken or, where `owner` is given, the turn is
        not its own: another one drives it."""
        ...

    async def checkpoint(self, points: Sequence[Checkpoint]) -> None:
        """Remember how far open turns have got. Each replaces its turn's last one; closed turns are left alone."""
        ...

    async def left_open(self, owner: str) -> list[LeftOpen]:
        """Open turns of others than `owner` that are dead, or never said that they live."""
        ...

    async def take_over(self, left: LeftOpen, owner: str) -> OpenTurn | None:
        """Make the turn `owner`'s: whoever had it can store nothing more. None, and nothing happens, when it is closed,
        somebody else's by now, or its owner lives after all. Of many who try at once one gets it."""
        ...

    async def owns(self, conversation: str, turn: str, owner: str) -> bool:
        """Whether the turn is open and `owner`'s."""
        ...

    async def beat(self, owner: str) -> float:
        """This server lives, by the database's clock. Returns the seconds since it last said so; 0 for the first time."""
        ...

    async def leave(self, owner: str) -> None:
        """This server is about to end: what it leaves open is anybody's at once."""
        ...

    async def check(self) -> Part: ...

    async def close(self) -> None: ...


# ---- Bus -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing told on a channel: bytes as published, and where it stands."""

    cursor: str
    data: bytes


OLDEST = "oldest"
"""A cursor before everything that is retained: for requests that may be heard twice but should not be missed."""


class TooOld(Exception):
    """The cursor is not retained any more (or is from another life of the server): start over from the store."""


class Bus(Protocol):
    """Carries open turns to whoever watches. A channel is a bounded log; cursors order it."""

    async def publish(self, channel: str, data: bytes) -> str:
        """Append; returns the entry's cursor. Never waits: neither for readers nor for a bus that is away."""
        ...

    async def head(self, channel: str) -> str:
        """The cursor after which nothing has been told yet."""
        ...

    def follow(self, channel: str, cursor: str) -> AsyncGenerator[list[Entry], None]:
        """Everything after `cursor`, in batches: what is retained at once (possibly an empty first batch, which says
        that the cursor is good), then whatever comes. Raises `TooOld` at the first step when the cursor is not retained,
        or later when the reader falls behind what is."""
        ...

    def reach(self) -> AsyncGenerator[bool, None]:
        """Whether what is told arrives now: at once, then at every change; ends where it always does. Publishing never
        waits for it; followers hear later what they missed, or get `TooOld`."""
        ...

    async def check(self) -> Part: ...

    async def close(self) -> None: ...
