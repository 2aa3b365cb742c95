"""What this server has counted since it started, in memory, for whoever renders it (metrics.py). Only gauges can fall.

One for the process, as Prometheus sees it. Whoever knows that something happened counts it; a count is one addition.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

SOON = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
LONG = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)


class Histogram:
    """Seconds, by upper bound: `buckets[i]` counts what took at most `bounds[i]` and more than the bound before; the last
    one what took longer than all."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        self.buckets[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds

    @property
    def count(self) -> int:
        return sum(self.buckets)


@dataclass(slots=True)
class Counts:
    """The words of labels are ours: no id, no name of a user, no text from outside."""

    # turns
    messages: Counter[str] = field(default_factory=Counter)  # that began a turn here, by the door they came in
    turns: Counter[str] = field(default_factory=Counter)  # by outcome
    recovered: int = 0  # turns that were closed here in the place of whoever drove them
    open_turns: int = 0
    first_token: Histogram = field(default_factory=lambda: Histogram(SOON))  # from the message to the turn's first word
    turn_seconds: Histogram = field(default_factory=lambda: Histogram(LONG))

    # the model
    model_requests: Counter[str] = field(default_factory=Counter)  # by how they ended
    model_waiting: int = 0  # requests that nothing has come of yet
    model_first_token: Histogram = field(default_factory=lambda: Histogram(SOON))
    model_seconds: Histogram = field(default_factory=lambda: Histogram(LONG))
    tokens: Counter[str] = field(default_factory=Counter)  # as the model server counts: prompt, cached, completion

    # cells
    cells: Counter[str] = field(default_factory=Counter)  # by outcome
    cells_waiting: int = 0  # for a sandbox, or for their turn in it
    cell_start: Histogram = field(default_factory=lambda: Histogram(SOON))  # from the code's end until it runs
    cell_seconds: Histogram = field(default_factory=lambda: Histogram(LONG))

    # connections
    websockets: int = 0
    closes: Counter[str] = field(default_factory=Counter)  # of websockets, by reason
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)  # by method and class of status
    request_seconds: Histogram = field(default_factory=lambda: Histogram(SOON))

    refusals: Counter[str] = field(default_factory=Counter)  # of commands over websockets, by reason

    # what did not answer
    errors: Counter[str] = field(default_factory=Counter)  # by part: store, bus, kernel, model


counts = Counts()
