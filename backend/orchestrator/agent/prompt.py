"""The conversation as the model reads it: a fold of the durable events, message by message.

What has once been sent stays as it is, byte for byte, so the model server finds the whole history in its prefix cache. Only
the last message, if it is the user's, may grow (the observation of a cell, then the user's next question): every model
expects user and assistant in turns. When the history no longer fits, the oldest messages are left out in one big step, so
that the new prefix holds for long. All of it follows from the events alone: the same events, the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from orchestrator.agent.clipping import clip, clip_bytes
from orchestrator.agent.observations import OUTPUT_LIMIT, ended, not_run, observation, result_key
from orchestrator.agent.profiles import Profile
from orchestrator.agent.signals import Message
from orchestrator.protocol.events import (
    CellClosed,
    CellOpened,
    DurableEvent,
    StepClosed,
    StepFinish,
    TurnClosed,
    TurnOpened,
    TurnOutcome,
)

CONTINUE = "Continue."
AGAIN = "[This is the same code with the same result as before. Try another way, or say what is in the way.]"
LEFT_OUT = "[Earlier parts of this conversation were left out, as they no longer fit.]"
BYTES_PER_TOKEN = 3
"""An estimate on the safe side, for what the model server has not counted yet."""
MIN_ROOM = 600
"""Bytes of the conversation that are sent in any case, however small the context."""
MESSAGE_BYTES = 12
"""What a message costs beyond its text: role and marks."""


class Transcript:
    """Messages for the next request, of at most `context_tokens` together with a reply of `reply_tokens`."""

    def __init__(self, profile: Profile, context_tokens: int, reply_tokens: int) -> None:
        self._profile = profile
        self._budget = max(context_tokens - reply_tokens - context_tokens // 32, context_tokens // 4)
        self._system: Message = {"role": "system", "content": profile.system}
        self._messages: list[Message] = []
        self._questions: list[int] = []  # which of them hold a text of the user
        self._fixed = _size(self._system) + sum(len(json.dumps(tool)) for tool in profile.tools)
        self._bytes = self._fixed
        self._read = self._fixed  # bytes that the model has read, or written itself
        self._room = max(self._budget * BYTES_PER_TOKEN - self._fixed, MIN_ROOM)
        self._counted = (0, 0)  # tokens and bytes of the last request that the server has counted
        self._waiting: StepClosed | None = None  # a message of the model of which nothing has come yet
        self._result: tuple[str, tuple[object, ...]] | None = None  # the last cell, and what came of it
        self._noted = False  # the last message says that the turn ended early

    def add(self, event: DurableEvent) -> None:
        """Take the conversation's next event."""
        match event:
            case TurnOpened(text=text):
                self._turn_opened(text)
            case StepClosed():
                self._step_closed(event)
            case CellClosed():
                self._cell_closed(event)
            case TurnClosed(outcome=outcome):
                self._turn_closed(outcome)
            case CellOpened():
                pass

    def messages(self) -> list[Message]:
        """For the next request: a new list of messages that never change."""
        return [self._system, *self._messages]

    def unread(self) -> int:
        """Tokens of the next request that the model has not read before, by their size: what its server's cache cannot
        have."""
        return max(0, self._bytes - self._read) // BYTES_PER_TOKEN

    # ---- events ------------------------------------------------------------------------------------------------------

    def _turn_opened(self, text: str) -> None:
        if text:
            self._append({"role": "user", "content": self._clipped(text)})
            self._questions.append(len(self._messages) - 1)
        elif self._noted or not self._messages or self._messages[-1]["role"] == "assistant":
            self._append({"role": "user", "content": CONTINUE})
        self._noted = False
        self._fit()

    def _step_closed(self, step: StepClosed) -> None:
        if step.usage is not None and step.usage.prompt_tokens:
            self._counted = (step.usage.prompt_tokens, self._bytes)
        wrote = self._profile.assistant(step)
        for message in wrote:
            self._append(message)
        if wrote:
            self._read = self._bytes
        if note := not_run(step, self._profile.remind):
            self._append(self._profile.observation(note, step))
            self._fit()
        elif wrote and step.finish not in (StepFinish.ANSWER, StepFinish.CUT_OFF):
            self._waiting = step

    def _cell_closed(self, cell: CellClosed) -> None:
        step, self._waiting = self._waiting, None
        if step is not None:
            text = observation(cell, min(OUTPUT_LIMIT, self._room // 4))
            result = (step.code.code if step.code else "", result_key(cell.outcome, cell.outputs))
            if result == self._result:
                text = f"{text}\n{AGAIN}"
            self._result = result
            self._append(self._profile.observation(text, step))
            self._fit()

    def _turn_closed(self, outcome: TurnOutcome) -> None:
        step, self._waiting = self._waiting, None
        unanswered = bool(self._questions) and self._questions[-1] == len(self._messages) - 1
        if step is None and (outcome is TurnOutcome.ANSWERED or not unanswered):
            return
        note = ended(step, outcome)
        if note:
            code = step is not None and step.code is not None
            self._append(self._profile.observation(note, step) if step and code else {"role": "user", "content": note})
            self._noted = True

    # ---- messages ----------------------------------------------------------------------------------------------------

    def _append(self, message: Message) -> None:
        """Add a message; the user's grow together, and between two of the model comes one of the user."""
        last = self._messages[-1]["role"] if self._messages else None
        if message["role"] == "assistant" and last in ("assistant", None):
            self._append({"role": "user", "content": CONTINUE})
        elif message["role"] == "user" == last:
            self._bytes -= _size(self._messages[-1])
            content = f"{self._messages.pop()['content']}\n\n{message['content']}"
            message = {"role": "user", "content": content}
        self._messages.append(message)
        self._bytes += _size(message)

    def _clipped(self, text: str) -> str:
        """A text that would fill more than half of the room, shortened."""
        size, most = len(text.encode()), self._room // 2
        return text if size <= most else clip(text, len(text) * most // size)

    # ---- fitting in --------------------------------------------------------------------------------------------------

    def _fit(self) -> None:
        """If the next request would not fit, leave out the oldest turns; then, if need be, this turn's oldest steps; and
        then clip what is longest."""
        if self._tokens() > self._budget:
            self._leave_out(0, [index for index in self._questions if index > 0])
        if self._tokens() > self._budget:
            steps = [index for index, message in enumerate(self._messages) if message["role"] == "assistant"]
            self._leave_out(1, steps[1:])
        if self._tokens() > self._budget:
            self._clip_longest()

    def _clip_longest(self) -> None:
        sizes = [0 if "tool_calls" in message else _size(message) for message in self._messages]
        longest = sizes.index(max(sizes))
        message = self._messages[longest]
        size = sizes[longest]
        excess = (self._tokens() - self._budget) * BYTES_PER_TOKEN + len(LEFT_OUT)
        text = message["content"]
        self._messages[longest] = {**message, "content": clip_bytes(text, max(size - excess, 200))}
        self._bytes += _size(self._messages[longest]) - size
        self._read = self._fixed

    def _tokens(self) -> int:
        tokens, size = self._counted
        return tokens + (self._bytes - size) // BYTES_PER_TOKEN

    def _leave_out(self, start: int, ends: Sequence[int]) -> None:
        """Remove messages from `start` to the first of `ends` that leaves half of what fits, or to the last of them."""
        if not ends:
            return
        before, gone, end = self._bytes, 0, start
        for following in ends:
            gone += sum(map(_size, self._messages[end:following]))
            end = following
            if self._tokens() * (before - gone) // before <= self._budget // 2:
                break
        del self._messages[start:end]
        self._questions = [index - (end - start) for index in self._questions if index >= end] or [0]
        first = self._messages[0]["content"]
        if not first.startswith(LEFT_OUT):
            self._messages[0] = {"role": "user", "content": f"{LEFT_OUT}\n\n{first}"}
        self._bytes = self._fixed + sum(map(_size, self._messages))
        self._read = self._fixed  # another beginning: what follows is read again
        self._counted = (self._counted[0] * self._bytes // before, self._counted[1] * self._bytes // before)


def _size(message: Message) -> int:
    """Bytes of a message, roughly as the model reads it."""
    calls = json.dumps(message["tool_calls"], ensure_ascii=False) if "tool_calls" in message else ""
    return MESSAGE_BYTES + len((message["content"] or "").encode()) + len(calls.encode())
