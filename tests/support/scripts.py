"""What a scripted model says: replies, the requests that they answer, and a few scripts with names.

A script is a list of replies (the n-th request gets the n-th) or a function from the request to a reply:

    ScriptedModel([Reply("Hello"), Reply(["<execute>", "\\nprint(1)\\n", "</execute>"])])
    ScriptedModel(lambda request: Reply(f"You said {request.text}"))
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

TOKEN = 4
"""Characters per token where a reply does not say how it is cut, and of prompts: close to what real tokenisers do."""


@dataclass(frozen=True)
class Wait:
    """Say nothing for a while."""

    seconds: float


@dataclass(frozen=True)
class Hold:
    """Say nothing until the test sets the event."""

    event: asyncio.Event


@dataclass(frozen=True)
class Raw:
    """These bytes, as they are, in the body of the stream: invalid JSON, error objects, comments, odd line ends."""

    data: bytes


@dataclass(frozen=True)
class Think:
    """One token of `reasoning_content`."""

    text: str


@dataclass(frozen=True)
class Call:
    """One token of a tool call; `name` only in the first of its `index`."""

    arguments: str
    name: str = ""
    index: int = 0


Item = str | Wait | Hold | Raw | Think | Call


@dataclass(frozen=True)
class Reply:
    """One answer. `items` is a text (cut into tokens of four characters) or tokens and other things, in order.

    Stop strings and max_tokens of the request cut it as a real server would. Bytes of `cut_at` and `stall_at` count from
    the first byte of the HTTP answer.
    """

    items: str | Sequence[Item] = ""
    finish: str | None = None  # None: stop, length or tool_calls, as it comes; "": no finish_reason is told
    rate: float | None = None  # tokens per second; None: as fast as it goes
    burst: int = 1  # tokens per chunk, where there is a rate
    ttft_s: float = 0.0
    endless: bool = False  # the items again and again, whatever max_tokens says, until the client hangs up
    done: bool = True  # ends with [DONE]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None  # the whole body, instead of a stream
    content_type: str | None = None
    hang: bool = False  # no byte of an answer, ever
    refuse: bool = False  # the connection is closed before the first byte
    cut_at: int | None = None  # the connection is closed after so many bytes
    stall_at: int | None = None  # nothing more comes after so many bytes
    chunk: int | None = None  # bytes per write to the socket
    chunked: bool = True  # False: the end of the connection is the end of the body


def failure(status: int, message: str = "scripted failure", **headers: str) -> Reply:
    """An error as OpenAI-compatible servers word it."""
    body = f'{{"error":{{"message":"{message}","type":"server_error","code":{status}}}}}'.encode()
    return Reply(status=status, body=body, headers={name.replace("_", "-"): value for name, value in headers.items()})


@dataclass(frozen=True)
class Request:
    """One request for a completion. `n` counts them from 0; `raw` is the body's exact bytes."""

    n: int
    raw: bytes
    body: dict[str, Any]
    headers: Mapping[str, str]

    @property
    def messages(self) -> list[dict[str, Any]]:
        return list(self.body.get("messages") or [])

    @property
    def last(self) -> dict[str, Any]:
        return self.messages[-1] if self.messages else {"role": "user", "content": ""}

    @property
    def text(self) -> str:
        """The last message's text."""
        return str(self.last.get("content") or "")

    @property
    def answers(self) -> int:
        """How many messages of the assistant the prompt holds."""
        return sum(message["role"] == "assistant" for message in self.messages)

    @property
    def observes(self) -> bool:
        """Whether the last message is the result of a cell, not a person's."""
        heads = ("Execution Output:", "Observation:", "Output:")
        return self.last["role"] == "tool" or self.text.lstrip().startswith(heads)


Script = Callable[[Request], Reply | str] | Sequence[Reply | str]


def decide(script: Script, request: Request) -> Reply:
    """The reply to a request; a list that is used up answers with status 500, so that a test hears of it."""
    if callable(script):
        reply = script(request)
    elif request.n < len(script):
        reply = script[request.n]
    else:
        reply = failure(500, f"the script has no reply number {request.n}")
    return Reply(reply) if isinstance(reply, str) else reply


def tokens_of(text: str) -> list[str]:
    return [text[at : at + TOKEN] for at in range(0, len(text), TOKEN)]


@dataclass(frozen=True)
class Plan:
    """What will be said: the items left after stop strings and max_tokens. `hidden`: the stop string that was generated
    but not told; `stopped`: there was one."""

    items: tuple[Item, ...]
    finish: str
    hidden: str
    stopped: bool


def plan(reply: Reply, body: Mapping[str, Any]) -> Plan:
    """Cut a reply as a real server does: at the first stop string (stripped, unless include_stop_str_in_output), else at
    max_tokens."""
    items: list[Item] = list(tokens_of(reply.items)) if isinstance(reply.items, str) else list(reply.items)
    stop = body.get("stop") or []
    limit = None if reply.endless else body.get("max_tokens") or body.get("max_completion_tokens")
    natural = "tool_calls" if any(isinstance(item, Call) for item in items) else "stop"
    kept, cut = _within(items, limit)
    shortened, hidden = _until_stop(
        kept, [stop] if isinstance(stop, str) else stop, bool(body.get("include_stop_str_in_output"))
    )
    if shortened is not None:
        return Plan(tuple(shortened), reply.finish or "stop", hidden, True)
    return Plan(tuple(kept), reply.finish or ("length" if cut else natural), "", False)


def _within(items: list[Item], limit: int | None) -> tuple[list[Item], bool]:
    if limit is None:
        return items, False
    used = itertools.accumulate(isinstance(item, str | Think | Call) for item in items)
    kept = [item for item, count in zip(items, used, strict=True) if count <= limit]
    return kept, len(kept) < len(items)


def _until_stop(items: list[Item], stops: Sequence[str], include: bool) -> tuple[list[Item] | None, str]:
    """The items up to the first stop string, or None where there is none."""
    text = "".join(item for item in items if isinstance(item, str))
    found = sorted((at, stop) for stop in stops if stop and (at := text.find(stop)) >= 0)
    if not found:
        return None, ""
    at, stop = found[0]
    left = at + (len(stop) if include else 0)
    kept: list[Item] = []
    for item in items:
        if isinstance(item, str):
            if len(item) >= left:
                kept.extend([item[:left]] if left else [])
                break
            left -= len(item)
        kept.append(item)
    return kept, "" if include else stop


# ---- scripts with names, for the server as a process -----------------------------------------------------------------


def action(code: str, style: str, prose: str = "") -> Reply:
    """A message that runs `code`, in the style of a profile: codeact, fenced or tools."""
    if style == "tools":
        arguments = '{"code":' + json.dumps(code) + "}"
        return Reply([*tokens_of(prose), Call("", "execute_python"), *(Call(piece) for piece in tokens_of(arguments))])
    opening, closing = ("<execute>\n", "\n</execute>") if style == "codeact" else ("```python\n", "\n```\n")
    return Reply(f"{prose}{opening}{code}{closing}")


def puppet(style: str) -> Callable[[Request], Reply]:
    """Does what the user's message says: `run CODE` runs it and then says Done; everything else is said back."""

    def script(request: Request) -> Reply:
        ordered = re.search(r"(?:^|\n\n)run (.*)", request.text, re.DOTALL)  # a note on a stopped cell may stand before it
        if ordered:
            return action(ordered.group(1), style)
        return Reply("Done." if request.observes else request.text)

    return script


def turns(style: str) -> Callable[[Request], Reply]:
    """Every message of the user makes one small cell run, then gets a short answer."""

    def script(request: Request) -> Reply:
        if request.observes:
            return Reply("The value is printed above.")
        return action(f"x = {request.n}\nprint(x)", style)

    return script


def flat(count: int) -> Callable[[Request], Reply]:
    """So many tokens of prose, whatever is asked."""
    words = ["The ", "quick ", "brown ", "fox ", "jumps ", "over ", "the ", "lazy ", "dog. "]
    items = tuple(itertools.islice(itertools.cycle(words), count))
    return lambda request: Reply(items)
