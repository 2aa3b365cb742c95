"""What a browser asks for. Ids of turns and conversations are made by the client, so that sending twice is harmless."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.protocol.base import Id, Value

MAX_TEXT = 200_000
"""Characters of one message: far above what fits a model's context, far below what hurts."""


class Subscribe(Value):
    """Tell what happens in the conversation after `cursor` (from the page, or from the last frame seen)."""

    type: Literal["subscribe"] = "subscribe"
    conversation: Id
    cursor: str


class Unsubscribe(Value):
    type: Literal["unsubscribe"] = "unsubscribe"
    conversation: Id


class SendMessage(Value):
    """Open a turn. Accepted means: `turn.opened` with this turn id arrives. The same id again changes nothing."""

    type: Literal["message.send"] = "message.send"
    conversation: Id
    turn: Id
    text: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]


class ContinueTurn(Value):
    """Go on where the last turn ended early, as a new turn with this id."""

    type: Literal["turn.continue"] = "turn.continue"
    conversation: Id
    turn: Id


class StopTurn(Value):
    """Stop the turn in whatever phase it is; `turn.stopping` is told at once. A closed turn stays as it is."""

    type: Literal["turn.stop"] = "turn.stop"
    conversation: Id
    turn: Id


class RestartKernel(Value):
    """Throw the conversation's variables away and begin with an empty kernel; files stay."""

    type: Literal["kernel.restart"] = "kernel.restart"
    conversation: Id


class Ping(Value):
    type: Literal["ping"] = "ping"


Command = Annotated[
    Subscribe | Unsubscribe | SendMessage | ContinueTurn | StopTurn | RestartKernel | Ping,
    Field(discriminator="type"),
]
