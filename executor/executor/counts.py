"""What this executor has counted since it started, in memory, for whoever renders it (a metrics page). Only `depth` and
`sandboxes` can fall."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from executor.egress.account import Counters

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass(slots=True)
class Histogram:
    """Seconds, by upper bound: `buckets[i]` counts what took at most `SECONDS[i]` and more than the bound before; the last
    one what took longer than all."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(SECONDS) + 1))
    sum: float = 0.0
    count: int = 0

    def add(self, seconds: float) -> None:
        self.buckets[bisect_left(SECONDS, seconds)] += 1
        self.sum += seconds
        self.count += 1


@dataclass(slots=True)
class Counts:
    """`claims` are times from the wish for a sandbox to a kernel that answers, by how it came: warm, cold or adopted."""

    starts: Counter[str] = field(default_factory=Counter)  # warm (into the pool), cold, adopted; failed
    claims: dict[str, Histogram] = field(default_factory=lambda: {"warm": Histogram(), "cold": Histogram()})
    depth: int = 0  # warm sandboxes right now
    sandboxes: Counter[str] = field(default_factory=Counter)  # by state, right now
    ends: Counter[str] = field(default_factory=Counter)  # sandboxes by `lifecycle.Reason`
    outcomes: Counter[str] = field(default_factory=Counter)  # cells by `outcomes.taxonomy`
    rungs: Counter[str] = field(default_factory=Counter)  # of the ladder, reached to stop a cell
    refusals: Counter[str] = field(default_factory=Counter)  # capacity, quota, fenced, draining
    takeovers: int = 0  # leases that went to another owner
    bytes_out: int = 0  # of output handed on
    bytes_dropped: int = 0  # of output left out for size
    egress: Counters = field(default_factory=Counters)  # requests of sandboxes that were granted a network
