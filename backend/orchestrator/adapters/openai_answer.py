"""What an OpenAI-compatible server answers → what the agent hears. Pure: bytes in, signals out."""

from __future__ import annotations

from typing import Any, Literal

import orjson

from orchestrator.adapters.sse import SseDecoder, TooLong
from orchestrator.ports import Failed, Finished, ModelSignal, Text, ToolCall
from orchestrator.protocol.events import Usage

MALFORMED = (ValueError, TypeError, AttributeError, KeyError, IndexError)
"""What walking through JSON of the wrong shape raises."""

REASONS: dict[str, Literal["stop", "length", "tool_calls"]] = {
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}
"""finish_reason as servers write it; every other one means that the model had nothing more to say."""

CLOSED = "The model server closed the connection in the middle of its answer. What came is kept; send a message to go on."
EMPTY = "The model server closed the connection without an answer. Check CODEACT_MODEL_URL, then send again."


class Answer:
    """One answer as it arrives: feed it bytes until `done`, then ask for its `end`.

    `limit`: pieces after which the answer is ended as too long, for servers that do not keep to max_tokens.
    `strip`: stop strings that the server may leave at the end of the text and that are not part of it.
    """

    def __init__(self, limit: int, strip: tuple[str, ...] = ()) -> None:
        self.done = False
        self.begun = False  # something of the message has come
        self._sse = SseDecoder()
        self._left = limit
        self._reason: str | None = None
        self._usage: Usage | None = None
        self._failed: Failed | None = None
        self._texts: list[str] = []  # of this read, not yet made a signal
        self._signals: list[ModelSignal] = []
        self._tail = Tail(strip) if strip else None

    def feed(self, data: bytes) -> list[ModelSignal]:
        """Everything that came with one read, merged; failures wait for `end`, so that nothing heard before is lost."""
        try:
            for event in self._sse.feed(data):
                self._event(event)
                if self.done:
                    break
        except TooLong:
            self.fail("The model server sent a piece of more than 4 MB. It does not speak the OpenAI API, or it is broken.")
        return self._take()

    def close(self) -> list[ModelSignal]:
        """The connection has ended."""
        try:
            for event in self._sse.flush():
                self._event(event)
        except TooLong:
            pass  # what is too long is not complete either
        self.done = True
        return self._take()

    def whole(self, body: bytes) -> list[ModelSignal]:
        """The answer of a server that does not stream."""
        try:
            self._chunk(orjson.loads(body), "message")
        except MALFORMED:
            self.fail(_not_an_answer(body))
        self.done = True
        return self._take()

    def fail(self, words: str, retryable: bool = False) -> None:
        """The answer ends here, and this is why. The first reason counts."""
        self._failed = self._failed or Failed(words, retryable)
        self.done = True

    def end(self) -> list[ModelSignal]:
        """The last signals: exactly one Finished or Failed, after what was held back."""
        text = self._tail.flush(self._reason == "stop") if self._tail else ""
        last: list[ModelSignal] = [Text(text)] if text else []
        if self._failed is not None:
            return [*last, self._failed]
        if self._reason is None:
            return [*last, Failed(CLOSED if self.begun else EMPTY, retryable=True)]
        if self._reason == "content_filter":
            return [
                *last,
                Failed("The model server's content filter ended the answer. Ask in other words.", retryable=False),
            ]
        return [*last, Finished(REASONS.get(self._reason, "stop"), self._usage)]

    def _event(self, event: bytes) -> None:
        if event == b"[DONE]":
            self._reason = self._reason or "stop"
            self.done = True
            return
        try:
            self._chunk(orjson.loads(event), "delta")
        except MALFORMED:
            self.fail(_not_an_answer(event))

    def _chunk(self, chunk: dict[str, Any], part: str) -> None:
        choices = chunk.get("choices")
        if choices:
            choice = choices[0]
            if delta := choice.get(part):
                self._delta(delta)
            if choice.get("finish_reason"):
                self._reason = str(choice["finish_reason"])
        if chunk.get("usage"):
            self._usage = _usage(chunk)
        if error := chunk.get("error"):
            self.fail(f"The model server failed while it answered: {message_of(error)}. Look at its log, then send again.")
        elif choices is None and "usage" not in chunk:
            raise ValueError("neither choices nor an error")

    def _delta(self, delta: dict[str, Any]) -> None:
        content = delta.get("content")
        if content:
            self._count()
            self._texts.append(content if type(content) is str else _joined(content))
        if calls := delta.get("tool_calls"):
            self._count()
            for position, call in enumerate(calls):
                self._call(call.get("index", position), call.get("function") or {})
        if not self.begun and (delta.get("reasoning_content") or delta.get("reasoning")):
            self.begun = True

    def _call(self, index: int, function: dict[str, Any]) -> None:
        self._merge()
        arguments = function.get("arguments") or ""
        if not isinstance(arguments, str):  # some servers send the object itself, in one piece
            arguments = orjson.dumps(arguments).decode()
        name = function.get("name") or ""
        last = self._signals[-1] if self._signals else None
        if isinstance(last, ToolCall) and last.index == index and not name:
            self._signals[-1] = ToolCall(index, last.name, last.arguments + arguments)
        else:
            self._signals.append(ToolCall(index, name, arguments))

    def _count(self) -> None:
        self.begun = True
        self._left -= 1
        if self._left < 0:
            self._reason = "length"
            self.done = True

    def _merge(self) -> None:
        if not self._texts:
            return
        text = "".join(self._texts)
        self._texts.clear()
        if self._tail is not None:
            text = self._tail.feed(text)
        if text:
            self._signals.append(Text(text))

    def _take(self) -> list[ModelSignal]:
        self._merge()
        signals, self._signals = self._signals, []
        return signals


class Tail:
    """Holds back the end of a text while it may be one of these stop strings."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._held = ""

    def feed(self, text: str) -> str:
        text = self._held + text
        longest = max(len(stop) for stop in self._stops)
        for size in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-size:]) for stop in self._stops):
                self._held = text[-size:]
                return text[:-size]
        self._held = ""
        return text

    def flush(self, stopped: bool) -> str:
        """What was held back, unless it is a stop string at which the server has stopped."""
        held, self._held = self._held, ""
        return "" if stopped and held in self._stops else held


def message_of(error: Any) -> str:
    """The words in an error object of any of the shapes that servers use."""
    if isinstance(error, dict):
        inner = error.get("message") or error.get("detail") or error.get("error")
        return message_of(inner) if inner is not None else "no reason given"
    return str(error)


def _usage(chunk: dict[str, Any]) -> Usage:
    """`timings.cache_n` is where llama.cpp says how much it had in its cache."""
    usage = chunk["usage"]
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    if cached is None:
        cached = (chunk.get("timings") or {}).get("cache_n")
    return Usage(
        prompt_tokens=usage.get("prompt_tokens"), completion_tokens=usage.get("completion_tokens"), cached_tokens=cached
    )


def _joined(parts: list[dict[str, Any]]) -> str:
    return "".join(str(part.get("text") or "") for part in parts)


def _not_an_answer(data: bytes) -> str:
    seen = data[:60].decode("utf-8", "replace")
    return f"The model server sent something that is not an answer of the OpenAI API: {seen!r}. Check CODEACT_MODEL_URL."
