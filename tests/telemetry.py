"""OpenTelemetry's SDK in memory: what an observer has told, as spans and metrics."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from kraken_fastkey.otel import OpenTelemetryObserver


class Telemetry:
    """An observer, and what it has told."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meter_provider = MeterProvider([self.reader])
        self.observer = OpenTelemetryObserver(tracer_provider=self.tracer_provider, meter_provider=self.meter_provider)

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that have ended, by their starts."""
        return sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def tree(self) -> list[str]:
        """Return the spans as lines, indented by their depth: name, status and type of error."""
        depths: dict[int, int] = {}
        lines = []
        for span in self.spans:
            depth = 0 if span.parent is None else depths.get(span.parent.span_id, -1) + 1
            context = span.get_span_context()
            assert context is not None
            depths[context.span_id] = depth
            attributes = span.attributes or {}
            told = [span.name]
            if "http.response.status_code" in attributes:
                told.append(str(attributes["http.response.status_code"]))
            if "http.request.resend_count" in attributes:
                told.append(f"again {attributes['http.request.resend_count']!r}")
            if span.status.status_code is StatusCode.ERROR:
                told.append(f"ERROR {attributes['error.type']!s}")
            lines.append("  " * depth + " ".join(told))
        return lines

    def points(self) -> dict[str, list[tuple[dict[str, Any], Any]]]:
        """Return each metric's points: their attributes, and the value or the count."""
        data = self.reader.get_metrics_data()
        found: dict[str, list[tuple[dict[str, Any], Any]]] = {}
        for resource in () if data is None else data.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    found[metric.name] = [
                        (dict(point.attributes or {}), point.count if hasattr(point, "count") else point.value)
                        for point in metric.data.data_points
                    ]
        return found

    def text(self) -> str:
        """Return all that has been told, as it would be sent away."""
        spans = "\n".join(span.to_json() for span in self.spans)
        data = self.reader.get_metrics_data()
        return spans if data is None else f"{spans}\n{data.to_json()}"

    def close(self) -> None:
        """Shut the providers down."""
        self.tracer_provider.shutdown()
        self.meter_provider.shutdown()
