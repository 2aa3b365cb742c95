"""What an OpenAI client sends. Fields that cannot be honoured are refused in words rather than ignored; sampling
parameters are accepted and have no effect, because they are the server's settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.errors import Invalid
from orchestrator.protocol.base import Id
from orchestrator.protocol.commands import MAX_TEXT

EARLIER = "The conversation so far, for context:"
SPEAKERS = {"user": "User", "assistant": "Assistant", "system": "Instructions", "developer": "Instructions"}


Said = tuple[str, str]
"""A role and its words."""


class Loose(BaseModel):
    """OpenAI clients send fields of every age: unknown ones are let through."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ContentPart(Loose):
    type: str
    text: str = ""


class ChatMessage(Loose):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None


class StreamOptions(Loose):
    include_usage: bool = False


class Metadata(Loose):
    """`conversation_id`: go on with that conversation, its kernel included."""

    conversation_id: Id | None = None


class ChatRequest(Loose):
    model: str
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    metadata: Metadata | None = None
    n: int | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    functions: list[Any] | None = None
    function_call: Any = None
    response_format: dict[str, Any] | None = None
    stop: str | list[str] | None = None
    logprobs: bool | None = None
    logit_bias: dict[str, Any] | None = None
    modalities: list[str] | None = None

    @property
    def conversation(self) -> str | None:
        return self.metadata.conversation_id if self.metadata else None

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


def check(request: ChatRequest) -> None:
    """Raises `Invalid` for what cannot be done."""
    wrong = {
        "n": (request.n or 1) > 1 and "One answer is given per request; ask again for another.",
        "tools": bool(request.tools or request.functions)
        and "Tools cannot be brought along: the agent acts by running Python in its own sandbox.",
        "tool_choice": (request.tool_choice or request.function_call) not in (None, "none", "auto")
        and "Tools cannot be brought along: the agent acts by running Python in its own sandbox.",
        "response_format": (request.response_format or {}).get("type", "text") != "text"
        and "The answer is always text (Markdown); its cells are in `codeact`.",
        "stop": bool(request.stop) and "Stop sequences would end the agent in the middle of a turn; leave `stop` out.",
        "logprobs": bool(request.logprobs) and "Log probabilities are not available for a turn of several messages.",
        "logit_bias": bool(request.logit_bias) and "Token biases cannot be applied to a turn of several messages.",
        "modalities": any(kind != "text" for kind in request.modalities or ()) and "Only text can be answered.",
    }
    for param, words in wrong.items():
        if words:
            raise Invalid(words, param)


@dataclass(frozen=True, slots=True)
class Question:
    """What opens the turn, and the words of the user in it, which a title is made from."""

    text: str
    said: str


def question(request: ChatRequest) -> Question:
    """With a conversation to go on with, what the user said last; without one, everything the request says, because the new
    conversation knows nothing yet. Raises `Invalid`."""
    messages: list[Said] = [(message.role, _text(message)) for message in request.messages]
    count = _said_last(messages)
    said = "\n\n".join(words for _, words in messages[len(messages) - count :] if words)
    if not said:
        raise Invalid("The last message must be the user's, and say something.", "messages")
    earlier = [(role, words) for role, words in messages[: len(messages) - count] if words]
    text = f"{_context(earlier)}\n\n{said}" if earlier and request.conversation is None else said
    if len(text) > MAX_TEXT:
        raise Invalid(f"The messages have {len(text):,} characters; at most {MAX_TEXT:,} can be read.", "messages")
    return Question(text, said)


def _said_last(messages: list[Said]) -> int:
    """How many messages at the end are the user's."""
    count = 0
    while count < len(messages) and messages[-1 - count][0] == "user":
        count += 1
    return count


def _context(earlier: list[Said]) -> str:
    """Instructions alone stand as they are; a conversation is told with its speakers."""
    if all(SPEAKERS[role] == "Instructions" for role, _ in earlier):
        return "\n\n".join(words for _, words in earlier)
    told = "\n\n".join(f"{SPEAKERS[role]}: {words}" for role, words in earlier)
    return f"{EARLIER}\n\n{told}\n\nThe user now says:"


def _text(message: ChatMessage) -> str:
    if message.role not in SPEAKERS:
        raise Invalid(f"Messages of the role {message.role!r} cannot be read here; send what they say as text.", "messages")
    if isinstance(message.content, list):
        other = next((part.type for part in message.content if part.type not in ("text", "input_text")), None)
        if other is not None:
            raise Invalid(f"Only text can be read, not {other!r}.", "messages")
        return "\n".join(part.text for part in message.content).strip()
    return (message.content or "").strip()
