"""Spans by OpenTelemetry's SDK, sent by OTLP over HTTP from a thread of its own. Imported only when there is a collector.

The provider is not the process's global one, so no library that happens to know OpenTelemetry adds spans with addresses,
queries or exceptions in them. Sampling, limits and headers are set as everywhere: `OTEL_TRACES_SAMPLER`, `OTEL_BSP_…`,
`OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_RESOURCE_ATTRIBUTES`.
"""

from __future__ import annotations

from threading import Thread

from opentelemetry import trace as api
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from executor.tracing import HEADER, NOTHING, Fact, Kind, Span

EXPORT_S = 5.0
LAST_S = 3.0  # for what is left when the program ends
PREFIX = "codeact."

_KINDS = {"internal": api.SpanKind.INTERNAL, "client": api.SpanKind.CLIENT, "server": api.SpanKind.SERVER}
_W3C = TraceContextTextMapPropagator()


class OtlpSpan(Span):
    """See `tracing.Span`. Its facts are attributes `codeact.…`."""

    def __init__(self, tracer: api.Tracer, span: api.Span) -> None:
        self._tracer = tracer
        self._span = span
        context = span.get_span_context()
        self.trace = f"{context.trace_id:032x}"
        self.header = f"00-{self.trace}-{context.span_id:016x}-{context.trace_flags:02x}"

    def child(self, name: str, kind: Kind = "internal", **facts: Fact) -> Span:
        parent = api.set_span_in_context(self._span)
        return OtlpSpan(
            self._tracer, self._tracer.start_span(name, parent, _KINDS[kind], _named(facts), record_exception=False)
        )

    def tell(self, **facts: Fact) -> None:
        self._span.set_attributes(_named(facts))

    def happened(self, name: str, **facts: Fact) -> None:
        self._span.add_event(name, _named(facts))

    def end(self, failed: bool = False) -> None:
        if failed:
            self._span.set_status(api.StatusCode.ERROR)
        self._span.end()


class OtlpMaker:
    def __init__(self, service: str, version: str, endpoint: str) -> None:
        self._exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_S)
        self._processor = BatchSpanProcessor(self._exporter)
        resource = Resource.create({"service.name": service, "service.version": version})
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer("codeact", version)

    def root(self, name: str, facts: dict[str, Fact]) -> Span:
        nobody = api.set_span_in_context(api.INVALID_SPAN)
        return OtlpSpan(self._tracer, self._tracer.start_span(name, nobody, _KINDS["server"], _named(facts)))

    def heard(self, header: str) -> Span:
        span = api.get_current_span(_W3C.extract({HEADER: header}, api.set_span_in_context(api.INVALID_SPAN)))
        return OtlpSpan(self._tracer, span) if span.get_span_context().is_valid else NOTHING

    def close(self) -> None:
        """Send what is left; a collector that does not answer is not waited for longer than LAST_S."""
        sending = Thread(target=self._processor.shutdown, daemon=True)
        sending.start()
        sending.join(LAST_S)
        if sending.is_alive():
            self._exporter.shutdown()  # type: ignore[no-untyped-call]  # as the library has it


def _named(facts: dict[str, Fact]) -> dict[str, Fact]:
    return {PREFIX + name: value for name, value in facts.items()}
