"""Logs as JSON, one object a line: time, level, logger, message, whatever a call gives as `extra`, and the ids of what the
work at hand is about (conversation, turn, cell, trace).

Neither code nor output nor secrets are ever logged; conversations are named by id. Exceptions of libraries quote what they
were given (rows, inputs, statements) from the second line of their message on, so only the first is written.
"""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal

from executor import tracing

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
MOST = 300  # characters of an exception's message
CAUSES = 5  # exceptions that led to an exception, at most

_about: ContextVar[Mapping[str, str]] = ContextVar("about", default={})  # noqa: B039 (never changed)


def about(**ids: str) -> None:
    """From here on this task, and those that it starts, are about these, beside what they were about."""
    _about.set({**_about.get(), **ids})


@contextmanager
def unrelated() -> Iterator[None]:
    """Tasks that are started in the block outlive what is being done, and belong to none of it."""
    token, span = _about.set({}), tracing.current()
    tracing.enter(tracing.NOTHING)
    try:
        yield
    finally:
        tracing.enter(span)
        _about.reset(token)


class Discreet(logging.Formatter):
    """Lines of text, whose exceptions do not say what was in their hands."""

    def formatException(
        self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        chain = list(_causes(ei[1]))
        return "\n".join("".join([*traceback.format_tb(one.__traceback__), _said(one)]) for one in reversed(chain))


class JsonLines(Discreet):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= _about.get()
        if trace := tracing.current().trace:
            line["trace"] = trace
        line |= {name: value for name, value in vars(record).items() if name not in _PLAIN}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def set_up(level: str, shape: Literal["json", "text"] = "json", force: bool = True) -> None:
    """Everything that this process logs goes to standard error, as JSON lines or as text; without `force` only where
    nobody has decided otherwise."""
    handler = logging.StreamHandler()
    text = Discreet("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonLines() if shape == "json" else text)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=force)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """It, and what led to it, nearest first."""
    told: list[BaseException] = []
    while error is not None and error not in told and len(told) < CAUSES:
        yield error
        told.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _said(error: BaseException) -> str:
    first = str(error).strip().partition("\n")[0][:MOST]
    return f"{type(error).__module__}.{type(error).__qualname__}" + (f": {first}" if first else "")
