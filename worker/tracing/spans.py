"""How the worker's spans look: names, kinds, attributes and links.

They follow OpenTelemetry's semantic conventions for messaging and for Kafka
(https://opentelemetry.io/docs/specs/semconv/messaging/), but for a message's key and id, which
would tell a user's. What attributes hold is bounded, or a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    Tracer,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from schemas.settings import Settings
from schemas.topics import Topic
from schemas.trace_context import TraceContext
from worker.metrics import Stage
from worker.stages.publish import Headers

if TYPE_CHECKING:
    from worker.tracing.event_trace import EventTrace

MICRO_BATCH = "innerloop.micro_batch"
"""Name of the span of a micro-batch; its stages, which are named as in the metrics, are below."""

_ROOT = Context()
_SYSTEM = {"messaging.system": "kafka"}
_PARTITION = "messaging.destination.partition.id"


class WorkerSpans:
    """Begins spans.

    Args:
        tracer: makes them.
        settings: all of them.
    """

    def __init__(self, tracer: Tracer, settings: Settings) -> None:
        self._tracer = tracer
        self._propagator = TraceContextTextMapPropagator()
        source = settings.kafka.topic(Topic.CLICKSTREAM)
        target = settings.kafka.topic(Topic.RECOMMENDATIONS)
        self._process = f"process {source}"
        self._send = f"send {target}"
        self._of_event = {
            **_SYSTEM,
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": source,
            "messaging.consumer.group.name": settings.worker.group_id,
        }
        self._of_answer = {
            **_SYSTEM,
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": target,
        }
        self.ending: dict[EventTrace, None] = {}
        """Events whose spans end with the micro-batch under way."""

    def micro_batch(self, records: int, begun_ns: int) -> Span:
        """Begin the span of a micro-batch, in a trace of its own: it is of many users' events."""
        return self._tracer.start_span(
            MICRO_BATCH,
            _ROOT,
            attributes={"messaging.batch.message_count": records},
            start_time=begun_ns,
        )

    def stage(self, batch: Span, stage: Stage, begun_ns: int, ended_ns: int) -> None:
        """Make the span of a stage that is over."""
        within = set_span_in_context(batch, _ROOT)
        self._tracer.start_span(stage.value, within, start_time=begun_ns).end(ended_ns)

    def event(
        self, batch: Span, created: TraceContext | None, place: tuple[int, int], read_ns: int
    ) -> Span:
        """Begin the span of an event.

        Args:
            batch: its micro-batch's, linked both ways.
            created: the context that the record carries, which is linked and made the parent; None
                begins a trace.
            place: its partition and offset.
            read_ns: when it was read, nanoseconds since the epoch.
        """
        parent, links = _ROOT, [Link(batch.get_span_context())]
        if created is not None:
            parent = self._propagator.extract(created.members(), _ROOT)
            links.insert(0, Link(get_current_span(parent).get_span_context()))
        partition, offset = place
        span = self._tracer.start_span(
            self._process,
            parent,
            SpanKind.CONSUMER,
            {**self._of_event, _PARTITION: str(partition), "messaging.kafka.offset": offset},
            links,
            read_ns,
        )
        batch.add_link(span.get_span_context())
        return span

    def answer(self, event: Span, partition: int, others: Sequence[SpanContext]) -> Span:
        """Begin the span of the recommendation that answers an event, and others."""
        return self._tracer.start_span(
            self._send,
            set_span_in_context(event, _ROOT),
            SpanKind.PRODUCER,
            {**self._of_answer, _PARTITION: str(partition)},
            [Link(other) for other in others],
        )

    def headers(self, span: Span) -> Headers:
        """Return the headers of a record that a span makes."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, set_span_in_context(span, _ROOT))
        return [(name, value.encode()) for name, value in carrier.items()]
