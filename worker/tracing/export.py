"""Sending spans away, in a thread of its own, with a bound on what waits and on what is logged."""

from __future__ import annotations

import importlib.metadata
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Tracer
from prometheus_client import Counter

from schemas.settings import Settings
from worker.logs import Repeats
from worker.metrics import SpanFate, WorkerMetrics

MOST_WAITING = 2048
"""Spans; more are dropped."""
_AT_ONCE = 512
_DELAY_MS = 1000
_TIMEOUT_S = 5
_CLOSE_S = 2.0
"""Spans that are not sent so long after the end are given up, but for what is on its way."""
_EXPORTER_LOG = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
_PARSER_LOG = "opentelemetry.trace.span"


@contextmanager
def sending(settings: Settings, metrics: WorkerMetrics) -> Iterator[Tracer]:
    """Give a tracer whose spans are sent to `tracing.endpoint`, all of them."""
    exporter = CountedExporter(
        OTLPSpanExporter(endpoint=settings.tracing.endpoint, timeout=_TIMEOUT_S),
        metrics.trace_spans,
    )
    provider = TracerProvider(
        sampler=ALWAYS_ON,  # which records are traced is decided before
        resource=_resource(settings),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BoundedProcessor(exporter, metrics.trace_spans))
    with _quiet():
        try:
            yield provider.get_tracer("innerloop", importlib.metadata.version("innerloop"))
        finally:
            giving_up = threading.Timer(_CLOSE_S, exporter.shutdown)
            giving_up.daemon = True
            giving_up.start()
            provider.shutdown()
            giving_up.cancel()


class CountedExporter(SpanExporter):
    """An exporter, and how many spans wait for it.

    Args:
        inner: sends spans.
        count: of them, by `SpanFate`.
    """

    def __init__(self, inner: SpanExporter, count: Counter) -> None:
        self._inner = inner
        self._count = count
        self._waiting = 0
        self._lock = threading.Lock()
        self._closed = False

    def make_room(self) -> bool:
        """Take up one more span; return False if too many are waiting."""
        with self._lock:
            if self._waiting >= MOST_WAITING:
                return False
            self._waiting += 1
            return True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans."""
        result = SpanExportResult.FAILURE
        try:
            if not self._closed:
                result = self._inner.export(spans)
        finally:
            sent = result is SpanExportResult.SUCCESS
            fate = SpanFate.SENT if sent else SpanFate.FAILED
            self._count.labels(fate.value).inc(len(spans))
            with self._lock:
                self._waiting -= len(spans)
        return result

    def shutdown(self) -> None:
        """Send nothing more; what is being tried again is given up. May be called again."""
        with self._lock:
            closed, self._closed = self._closed, True
        if not closed:
            self._inner.shutdown()


class BoundedProcessor(SpanProcessor):
    """Hands ended spans to an exporter's thread; drops what is too much, without a word.

    Args:
        exporter: sends them.
        count: of spans, by `SpanFate`.
    """

    def __init__(self, exporter: CountedExporter, count: Counter) -> None:
        self._exporter = exporter
        self._count = count
        self._batches: SpanProcessor = BatchSpanProcessor(
            exporter,
            max_queue_size=MOST_WAITING,
            schedule_delay_millis=_DELAY_MS,
            max_export_batch_size=_AT_ONCE,
        )

    def on_end(self, span: ReadableSpan) -> None:
        """Take up a span."""
        if self._exporter.make_room():
            self._batches.on_end(span)
        else:
            self._count.labels(SpanFate.DROPPED.value).inc()

    def shutdown(self) -> None:
        """Send what waits, and end."""
        self._batches.shutdown()


def _resource(settings: Settings) -> Resource:
    named = {
        SERVICE_NAME: settings.tracing.service_name,
        SERVICE_VERSION: importlib.metadata.version("innerloop"),
    }
    if settings.worker.instance_id is not None:
        named[SERVICE_INSTANCE_ID] = settings.worker.instance_id
    return Resource.create(named)


@contextmanager
def _quiet() -> Iterator[None]:
    """Have OpenTelemetry log each kind of trouble once a minute, and nothing of what others wrote.

    Its parser would log what it cannot read of a record's `tracestate`.
    """
    exporter, parser = logging.getLogger(_EXPORTER_LOG), logging.getLogger(_PARSER_LOG)
    once, level = Repeats(1), parser.level
    exporter.addFilter(once)
    parser.setLevel(logging.ERROR)
    try:
        yield
    finally:
        exporter.removeFilter(once)
        parser.setLevel(level)
