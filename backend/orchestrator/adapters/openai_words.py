"""Why a model server refused → words for people: the cause and the next step. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import orjson

from orchestrator.adapters.openai_answer import message_of

MOST = 300
"""Characters of a server's own message that are shown."""

TOO_LONG = re.compile(
    r"context[_ ]length|context (size|window)|maximum context|exceed\w* .{0,40}context|too many tokens|prompt is too long",
    re.I,
)
KEY_LIKE = re.compile(r"\b(sk|hf|gsk|key)[-_][\w*.-]{6,}")


class Refused(Exception):
    """The server did not begin an answer. `again`: asking again may help; `after_s`: not before so many seconds."""

    def __init__(self, words: str, *, again: bool, after_s: float = 0.0) -> None:
        super().__init__(words)
        self.words = words
        self.again = again
        self.after_s = after_s


def unreachable(where: str, reason: str) -> Refused:
    return Refused(
        f"The model server at {where} cannot be reached ({reason}). Start it, or correct CODEACT_MODEL_URL; then send "
        "again.",
        again=True,
    )


def silent(where: str, seconds: float, *, begun: bool) -> str:
    what = "stopped in the middle of its answer and has been silent" if begun else "has not begun to answer"
    return (
        f"The model server at {where} {what} for {seconds:.0f} s. It may be overloaded or stuck: look at its log, "
        "then send again."
    )


def broke_off(where: str) -> str:
    return (
        f"The connection to the model server at {where} broke in the middle of its answer. What came is kept; "
        "send a message to go on."
    )


def refused(where: str, model: str, status: int, headers: Mapping[str, str], body: bytes, now: float) -> Refused:
    """The server answered with an error status. `now`: Unix seconds, for a Retry-After that is a date."""
    said = said_by(body)
    if status in (401, 403):
        return Refused(
            f"The model server at {where} refused the key (status {status}). Check CODEACT_MODEL_API_KEY.", again=False
        )
    if status in (429, 503):
        return _busy(where, status, said, _seconds(headers.get("Retry-After", ""), now))
    if status in (400, 413, 422) and (status == 413 or TOO_LONG.search(said)):
        return Refused(
            f"The conversation has become too long for the model ({said}). Start a new conversation, or give the model "
            "server a larger context.",
            again=False,
        )
    if status == 404:
        return Refused(
            f"The model server at {where} does not know the model {model!r} or the address ({said}). "
            "Check CODEACT_MODEL_NAME and CODEACT_MODEL_URL.",
            again=False,
        )
    if 300 <= status < 400:
        return Refused(
            f"The server at {where} redirects to another address. Put the final one into CODEACT_MODEL_URL.", again=False
        )
    if status >= 500:
        return Refused(
            f"The model server at {where} failed (status {status}: {said}). Look at its log, then send again.", again=False
        )
    return Refused(f"The model server at {where} rejected the request (status {status}: {said}).", again=False)


def _busy(where: str, status: int, said: str, after_s: float) -> Refused:
    when = f"in {after_s:.0f} s" if after_s >= 1 else "in a moment"
    return Refused(
        f"The model server at {where} is busy or not ready (status {status}: {said}). Send again {when}.",
        again=True,
        after_s=after_s,
    )


def said_by(body: bytes) -> str:
    """The server's own words, on one line and not too long."""
    try:
        found = message_of(orjson.loads(body))
    except ValueError:
        found = body.decode("utf-8", "replace")
    return in_short(found)


def in_short(text: str) -> str:
    """One line, not too long."""
    line = " ".join(text.split())
    return (line if len(line) <= MOST else line[:MOST] + "…") or "no reason given"


def without_key(words: str, key: str) -> str:
    """Words that may quote a server, without anything that looks like a key."""
    if key:
        words = words.replace(key, "[key]")
    return KEY_LIKE.sub("[key]", words)


def _seconds(retry_after: str, now: float) -> float:
    """Retry-After: seconds, or a date (RFC 9110, 10.2.3)."""
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - now)
    except (ValueError, TypeError):
        return 0.0
