"""From the model's stream to prose and code, while it is being written.

A decoder turns what the model streams into pieces: `Prose* (CodeOpened CodeText* CodeClosed? | Fabricated)?`. Three
promises bind every action format (`decoders/`), and are property-tested:

- Exact: prose + opening + code + closing are the characters the model wrote up to the end of its first code action (with
  the closing tag restored where the server stripped it as a stop string). The one exception is `Fabricated`, before which
  trailing whitespace of the prose is dropped.
- Indifferent to chunks: however the stream is cut, the same pieces come out once neighbours are merged.
- Prompt: only what could still become a tag is held back. (Whitespace at the end is: it may belong to a closing tag.)

Code arrives piece by piece, so statements can be run before the whole block is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from orchestrator.agent.signals import Text, ToolCall

FlushReason = Literal["stop", "length", "tool_calls"] | None


@dataclass(frozen=True, slots=True)
class Prose:
    """Text for the reader."""

    text: str


@dataclass(frozen=True, slots=True)
class CodeOpened:
    """A code action begins; `opening` is how the model wrote that."""

    opening: str


@dataclass(frozen=True, slots=True)
class CodeText:
    """More of the code."""

    text: str


@dataclass(frozen=True, slots=True)
class CodeClosed:
    """The code is complete and may run; `closing` is how the model wrote that. Nothing follows."""

    closing: str


@dataclass(frozen=True, slots=True)
class Fabricated:
    """The model began to write its own observation; it was cut there. Nothing follows."""


Piece = Prose | CodeOpened | CodeText | CodeClosed | Fabricated


class Decoder(Protocol):
    """Reads one message of the model."""

    @property
    def done(self) -> bool:
        """True after CodeClosed or Fabricated: abort the request, what would follow is of no interest."""
        ...

    @property
    def error(self) -> str:
        """After `flush`: why code that was begun cannot be run, for the model to read; empty when cut off or well."""
        ...

    def feed(self, signal: Text | ToolCall) -> list[Piece]: ...

    def flush(self, reason: FlushReason) -> list[Piece]:
        """The message has ended; None when it was stopped or failed. Open code is closed on "stop" and "tool_calls" only:
        code that was cut off has no CodeClosed and must never run."""
        ...
