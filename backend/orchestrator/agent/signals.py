"""What a model says while it writes: the values that `ports.Model` streams. They live below the ports, so that the agent,
which the ports are made for, can speak of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.protocol.events import Usage

Message = dict[str, Any]
"""One chat message as the OpenAI API writes it. Never changed after it was made."""


@dataclass(frozen=True, slots=True)
class Text:
    """Characters of the message's content: everything that came in one read, merged."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """Characters of tool call number `index`; `name` only in the first piece."""

    index: int
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The server ended the message. `reason` is its finish_reason."""

    reason: Literal["stop", "length", "tool_calls"]
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class Failed:
    """The request failed for good; `words` name the cause and the next step, for people."""

    words: str
    retryable: bool


ModelSignal = Text | ToolCall | Finished | Failed
