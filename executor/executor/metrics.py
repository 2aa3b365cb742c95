"""What this executor has counted, in the Prometheus text format (version 0.0.4). Labels are names of ours alone: no id of a
conversation, no text of a tenant."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from executor.counts import SECONDS, Counts

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "codeact_executor"

# name, help, label, which counts
BY_LABEL: tuple[tuple[str, str, str, Callable[[Counts], Mapping[str, int]]], ...] = (
    ("starts", "Sandboxes started, by how: warm (into the pool), cold, adopted, failed", "how", lambda c: c.starts),
    ("ends", "Sandboxes ended, by reason", "reason", lambda c: c.ends),
    ("cells", "Cells run, by outcome", "outcome", lambda c: c.outcomes),
    ("stops", "Cells stopped, by the rung of the ladder that it took", "rung", lambda c: c.rungs),
    ("refusals", "Requests refused, by cause", "cause", lambda c: c.refusals),
    ("egress_requests", "Requests of sandboxes to the network, by verdict", "verdict", lambda c: c.egress.verdicts),
)
PLAIN: tuple[tuple[str, str, Callable[[Counts], int]], ...] = (
    ("lease_takeovers", "Leases that went to another owner", lambda c: c.takeovers),
    ("output_bytes", "Bytes of output handed on", lambda c: c.bytes_out),
    ("output_dropped_bytes", "Bytes of output left out for size", lambda c: c.bytes_dropped),
    ("egress_sent_bytes", "Bytes that sandboxes sent to the network", lambda c: c.egress.bytes_up),
    ("egress_received_bytes", "Bytes that sandboxes received from the network", lambda c: c.egress.bytes_down),
)


class Counted(Collector):
    """Reads the counts when it is asked; keeps nothing."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        counts = self._counts
        for name, words, label, read in BY_LABEL:
            by_label = CounterMetricFamily(f"{PREFIX}_{name}", words, labels=[label])
            for value, number in sorted(read(counts).items()):
                by_label.add_metric([str(value)], number)
            yield by_label
        for name, words, read_one in PLAIN:
            yield CounterMetricFamily(f"{PREFIX}_{name}", words, value=read_one(counts))
        yield GaugeMetricFamily(f"{PREFIX}_pool_depth", "Warm sandboxes ready to be claimed", value=counts.depth)
        states = GaugeMetricFamily(f"{PREFIX}_sandboxes", "Sandboxes right now, by state", labels=["state"])
        for state, number in sorted(counts.sandboxes.items()):
            states.add_metric([str(state)], max(0, number))
        yield states
        yield self._claims()

    def _claims(self) -> Metric:
        words = "Seconds from the wish for a sandbox to a kernel that answers, by how it came"
        claims = HistogramMetricFamily(f"{PREFIX}_claim_seconds", words, labels=["how"])
        for how, histogram in sorted(self._counts.claims.items()):
            total, buckets = 0, []
            for bound, number in zip([*map(str, SECONDS), "+Inf"], histogram.buckets, strict=True):
                total += number
                buckets.append((bound, float(total)))
            claims.add_metric([how], buckets=buckets, sum_value=histogram.sum)
        return claims


def renderer(*sources: Any) -> Callable[[], bytes]:
    """A function that renders what the collectors tell at that moment."""
    registry = CollectorRegistry(auto_describe=False)
    for source in sources:
        registry.register(source)
    return lambda: generate_latest(registry)
