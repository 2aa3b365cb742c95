"""The counts in the Prometheus text format. Labels are words of ours alone: no id, no user, no text from outside."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from orchestrator import __version__
from orchestrator.observability.counts import Counts, Histogram

PREFIX = "codeact"

# name, help, label, which counts
BY_LABEL: tuple[tuple[str, str, str, Callable[[Counts], Mapping[str, int]]], ...] = (
    ("messages", "Messages that began a turn here, by the door they came in", "door", lambda c: c.messages),
    ("turns", "Turns that this server drove to their end, by outcome", "outcome", lambda c: c.turns),
    ("model_requests", "Requests to the model, by how its message ended", "finish", lambda c: c.model_requests),
    ("tokens", "Tokens as the model server counted them: prompt, cached of these, completion", "kind", lambda c: c.tokens),
    ("cells", "Cells, by outcome", "outcome", lambda c: c.cells),
    ("websocket_closes", "Websockets that ended, by reason", "reason", lambda c: c.closes),
    ("refusals", "Commands over websockets that were not carried out, by reason", "reason", lambda c: c.refusals),
    ("errors", "Times that a part did not do its work: store, bus, kernel, model", "part", lambda c: c.errors),
)
GAUGES: tuple[tuple[str, str, Callable[[Counts], int]], ...] = (
    ("open_turns", "Turns that this server drives", lambda c: c.open_turns),
    ("websockets", "Websockets that are open", lambda c: c.websockets),
    ("model_waiting", "Requests to the model that nothing has come of yet", lambda c: c.model_waiting),
    ("cells_waiting", "Cells that wait for a sandbox, or for their turn in it", lambda c: c.cells_waiting),
)
SECONDS: tuple[tuple[str, str, Callable[[Counts], Histogram]], ...] = (
    ("first_token_seconds", "From a message's arrival to the first word of its turn", lambda c: c.first_token),
    ("turn_seconds", "From a message's arrival to the end of its turn", lambda c: c.turn_seconds),
    ("model_first_token_seconds", "From a request to the model to its first word", lambda c: c.model_first_token),
    ("model_request_seconds", "From a request to the model to the end of its message", lambda c: c.model_seconds),
    ("cell_start_seconds", "From the wish to run a cell until it runs", lambda c: c.cell_start),
    ("cell_seconds", "How long cells ran", lambda c: c.cell_seconds),
    ("http_request_seconds", "How long HTTP requests took, streamed answers included", lambda c: c.request_seconds),
)


class Counted(Collector):
    """Reads the counts when it is asked; keeps nothing."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        counts = self._counts
        for name, words, label, read in BY_LABEL:
            family = CounterMetricFamily(f"{PREFIX}_{name}", words, labels=[label])
            for value, number in sorted(read(counts).items()):
                family.add_metric([str(value)], number)
            yield family
        requests = CounterMetricFamily(f"{PREFIX}_http_requests", "HTTP requests", labels=["method", "status"])
        for (method, status), number in sorted(counts.requests.items()):
            requests.add_metric([method, status], number)
        yield requests
        lost = "Turns that were closed here in the place of whoever drove them"
        yield CounterMetricFamily(f"{PREFIX}_turns_recovered", lost, value=counts.recovered)
        for name, words, gauge in GAUGES:
            yield GaugeMetricFamily(f"{PREFIX}_{name}", words, value=gauge(counts))
        for name, words, seconds in SECONDS:
            yield _histogram(f"{PREFIX}_{name}", words, seconds(counts))
        build = GaugeMetricFamily(f"{PREFIX}_build_info", "What runs here", labels=["version", "python"])
        build.add_metric([__version__, platform.python_version()], 1)
        yield build


def renderer(*sources: Collector) -> Callable[[], bytes]:
    """A function that renders what the collectors tell at that moment, and what this process uses."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    for source in sources:
        registry.register(source)
    return lambda: generate_latest(registry)


def _histogram(name: str, words: str, histogram: Histogram) -> Metric:
    total, buckets = 0, []
    for bound, number in zip([*map(str, histogram.bounds), "+Inf"], histogram.buckets, strict=True):
        total += number
        buckets.append((bound, float(total)))
    return HistogramMetricFamily(name, words, buckets=buckets, sum_value=histogram.sum)
