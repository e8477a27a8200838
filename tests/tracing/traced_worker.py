"""A worker without Kafka that is traced, and the spans that it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
from confluent_kafka import Message
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from worker_parts import Worker, message

from schemas.clickstream import ClickstreamEvent
from schemas.settings import TracingSettings, WorkerSettings
from worker.tracing.micro_batches import Tracing

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
STAGES = ["decode", "fold", "encode", "adapt", "rank", "publish"]


def traceparent(number: int, *, sampled: bool = True) -> str:
    """Return the `traceparent` of trace and span `number`."""
    return f"00-{number:032x}-{number:016x}-0{int(sampled)}"


def traced_message(
    event: ClickstreamEvent, offset: int, trace: str | None = None, state: str | None = None
) -> Message:
    """Return the record of an event, with the headers of a trace."""
    headers = [("ce_id", event.event_id.encode())]
    headers += [] if trace is None else [("traceparent", trace.encode())]
    headers += [] if state is None else [("tracestate", state.encode())]
    value = msgspec.json.encode(event)
    return message(value, event.user_id.encode(), offset, headers=headers)


@dataclass
class TracedWorker:
    """A worker whose micro-batches are visible when they are said to be."""

    tracing: TracingSettings = field(default_factory=TracingSettings)
    worker: WorkerSettings = field(default_factory=lambda: WorkerSettings(top_k=5, recent_events=8))
    visible_at_once: bool = True
    chances: Sequence[float] = ()

    def __post_init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        chances = iter(self.chances)

        def make(settings, metrics):
            settings = settings.model_copy(update={"tracing": self.tracing})
            self.traces = Tracing(
                provider.get_tracer("test"), settings, metrics, chance=lambda: next(chances)
            )
            return self.traces

        self.parts = Worker(settings=self.worker, make_tracing=make)
        if not self.visible_at_once:
            self.parts.journal.visible = lambda batches: None

    def process(self, *messages: Message) -> None:
        self.parts.processor.process(messages)

    def visible(self, batches: int = 1) -> None:
        self.parts.processor.visible(batches)

    def ended(self, prefix: str = "") -> list[ReadableSpan]:
        """Return the spans that ended, of names that begin so."""
        spans = self._exporter.get_finished_spans()
        return [span for span in spans if span.name.startswith(prefix)]

    def headers(self) -> dict[str, dict[str, str]]:
        """Return the headers of the recommendations, by the event that caused each."""
        records = [r for r in self.parts.journal.records if r.topic == "recommendations"]
        causes = [answer.caused_by for answer in self.parts.journal.recommendations()]
        return {
            cause: {name: value.decode() for name, value in record.headers or ()}
            for cause, record in zip(causes, records, strict=True)
        }

    def counted(self, result: str) -> float:
        return self.parts.sample("innerloop_traced_records_total", result=result)
