"""One trace for one turn, through every service it passes: spans, and the header that carries them on (W3C Trace Context).

Off unless `set_up` is called with a collector's address: only then is the OpenTelemetry SDK imported (tracing_otlp.py), and
every span until then is `NOTHING`, which costs a call. The span that work belongs to lies in the task's context, so nobody
hands spans about. Spans tell ids, outcomes and numbers; never what people, models or code wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig

Fact = str | int | float | bool
Kind = Literal["internal", "client", "server"]
HEADER = "traceparent"

BY_US_ALONE: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
"""For `FastAPI(telemetry=…)`: its own spans and logs carry queries and exceptions."""

NOT_INSTALLED = (
    "OTEL_EXPORTER_OTLP_ENDPOINT is set, but OpenTelemetry's SDK is not installed ({cause}). Install what "
    "deploy/requirements.lock lists, or unset it."
)


class CannotTrace(Exception):
    """Traces are wanted and cannot be made; the message says why and what to do."""


class Span:
    """A piece of work. This one is nobody's: it tells nothing and has only children like itself.

    `header`: how to name it to another service; `trace`: the trace's id, 32 hexadecimal digits; both empty without one.
    """

    header = ""
    trace = ""

    def child(self, name: str, kind: Kind = "internal", **facts: Fact) -> Span:
        return self

    def tell(self, **facts: Fact) -> None:
        """Facts that are known later than its beginning."""

    def happened(self, name: str, **facts: Fact) -> None:
        """Something at a moment of it."""

    def end(self, failed: bool = False) -> None:
        """Once; what is told later is lost."""


NOTHING = Span()
_current: ContextVar[Span] = ContextVar("span", default=NOTHING)


class Maker(Protocol):
    """What makes real spans."""

    def root(self, name: str, facts: dict[str, Fact]) -> Span: ...
    def heard(self, header: str) -> Span:
        """What another service named; `NOTHING` where the header is none."""
        ...


_maker: Maker | None = None


def current() -> Span:
    """What this task is part of."""
    return _current.get()


def enter(span: Span) -> None:
    """From here on this task, and those that it starts, are part of `span`."""
    _current.set(span)


def root(name: str, **facts: Fact) -> Span:
    """The beginning of a trace."""
    return NOTHING if _maker is None else _maker.root(name, facts)


def heard(header: str) -> Span:
    """The span that a request names in its `traceparent`, to be the parent of what is done for it."""
    return NOTHING if _maker is None or not header else _maker.heard(header)


@contextmanager
def within(name: str, kind: Kind = "internal", **facts: Fact) -> Iterator[Span]:
    """A child of what this task is part of, for as long as the block lasts; failed when the block raises."""
    token = _current.set(span := _current.get().child(name, kind, **facts))
    failed = True
    try:
        yield span
        failed = False
    finally:
        _current.reset(token)
        span.end(failed)


def set_up(service: str, version: str, endpoint: str) -> Callable[[], None]:
    """Spans go to the OTLP/HTTP collector at `endpoint` from now on, or nowhere when that is empty. What is returned ends
    that: it sends what is left, takes a few seconds at most, and is to be called in a thread. Raises CannotTrace."""
    global _maker
    if not endpoint:
        return lambda: None
    try:
        from executor.tracing_otlp import OtlpMaker
    except ImportError as error:
        raise CannotTrace(NOT_INSTALLED.format(cause=error)) from error
    made = _maker = OtlpMaker(service, version, endpoint)

    def end() -> None:
        global _maker
        if _maker is made:
            _maker = None
        made.close()

    return end
