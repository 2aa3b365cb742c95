"""What the server sends down a websocket, and why it may close one."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Annotated, Literal

from pydantic import Field

from orchestrator.protocol.base import Id, Value
from orchestrator.protocol.events import Event


class Hello(Value):
    """First frame of every connection. A client that knows another `protocol` asks the user to reload."""

    type: Literal["hello"] = "hello"
    protocol: int
    model: str


class Told(Value):
    """Something happened in a conversation. `cursor` is where to go on from after a lost connection."""

    type: Literal["told"] = "told"
    conversation: Id
    cursor: str
    event: Event


class Subscribed(Value):
    """The subscription is live; everything after the asked cursor follows."""

    type: Literal["subscribed"] = "subscribed"
    conversation: Id


class Reset(Value):
    """The cursor is too old, or the reader too slow: load the conversation's page again and subscribe with its cursor."""

    type: Literal["reset"] = "reset"
    conversation: Id


class Delivery(Value):
    """Whether what happens is told as it happens. Sent when that changes, and after hello when it is not so: turns run all
    the same, and what was missed is told later."""

    type: Literal["delivery"] = "delivery"
    live: bool


class ConversationSummary(Value):
    """One line of the conversation list. `running`: a turn is open."""

    id: Id
    title: str
    created_at: float
    updated_at: float
    running: bool


class ConversationChanged(Value):
    """The list has a new or changed line; told on every connection."""

    type: Literal["conversation.changed"] = "conversation.changed"
    summary: ConversationSummary


class ConversationRemoved(Value):
    """The list has lost a line; told on every connection."""

    type: Literal["conversation.removed"] = "conversation.removed"
    conversation: Id


class Refusal(StrEnum):
    """Why a command was not carried out."""

    MALFORMED = "malformed"  # not a command of this protocol
    UNKNOWN_CONVERSATION = "unknown_conversation"
    TURN_OPEN = "turn_open"  # another turn of this conversation is still running
    NOTHING_TO_CONTINUE = "nothing_to_continue"
    BUSY = "busy"  # the kernel cannot be restarted while a turn runs
    QUOTA = "quota"  # the user has used up what they may; the words say what, and when there is more
    FAILED = "failed"  # our fault; logged with the id in the words


class Refused(Value):
    """A command was not carried out. `words` name the cause and the next step; `turn` is set when it named one."""

    type: Literal["refused"] = "refused"
    reason: Refusal
    words: str
    conversation: Id | None
    turn: Id | None


class Pong(Value):
    type: Literal["pong"] = "pong"


Frame = Annotated[
    Hello | Told | Subscribed | Reset | Delivery | ConversationChanged | ConversationRemoved | Refused | Pong,
    Field(discriminator="type"),
]


class CloseCode(IntEnum):
    """Websocket close codes (RFC 6455 §7.4; 4000–4999 are ours)."""

    GOING_AWAY = 1001  # the server shuts down: reconnect
    TOO_BIG = 1009
    SIGNED_OUT = 4401  # nobody is signed in (any more): sign in, then connect again
    FORBIDDEN = 4403  # wrong Origin or no session: reload the page
    TOO_SLOW = 4408  # could not take frames fast enough: reconnect
    MISBEHAVED = 4400  # too many malformed frames
