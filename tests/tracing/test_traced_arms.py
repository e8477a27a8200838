"""Traces where two models are served: each event is answered once, and never by a shadow."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from rollout_parts import ArmsWorker, OtherModel, tried
from traced_worker import traced_message, traceparent
from worker_parts import event

from schemas.model_rollout import CandidateMode
from schemas.settings import Settings, WorkerSettings
from worker.tracing.micro_batches import Tracing

USERS = 12


@pytest.mark.parametrize("mode", list(CandidateMode))
@pytest.mark.parametrize("min_interval_ms", [0, 1000])
def test_each_event_is_answered_once_under_its_own_trace(mode, min_interval_ms):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    settings = WorkerSettings(top_k=5, recent_events=8, min_interval_ms=min_interval_ms)
    worker = ArmsWorker(settings=settings)
    worker.form(worker.first, tried(OtherModel(), 50, mode))
    worker.processor._tracing = Tracing(provider.get_tracer("test"), Settings(), worker.metrics)
    worker.journal.visible = worker.processor.visible

    def process(number: int) -> None:
        first = USERS * number
        worker.processor.process(
            [
                traced_message(event(f"u{n}", number), first + n, traceparent(first + n + 1))
                for n in range(USERS)
            ]
        )

    process(0)
    process(1)
    worker.now_s = 2.0
    worker.processor.process([])  # what was put off

    spans = exporter.get_finished_spans()
    sent = {span.context.trace_id for span in spans if span.name.startswith("send ")}
    processed = [span for span in spans if span.name.startswith("process ")]
    assert sorted(span.context.trace_id for span in processed) == list(range(1, 2 * USERS + 1))
    assert sent == set(range(1, 2 * USERS + 1))
    assert {span.attributes["innerloop.outcome"] for span in processed} == {"applied"}
    records = [r for r in worker.journal.records if r.topic == "recommendations"]
    answers = worker.journal.recommendations()
    assert len(answers) == 2 * USERS
    for record, answer in zip(records, answers, strict=True):
        user, number = answer.caused_by.removeprefix("u").split("-")
        trace = f"{USERS * int(number) + int(user) + 1:032x}"
        assert dict(record.headers)["traceparent"].decode().split("-")[1] == trace
    variants = {answer.variant for answer in answers}
    assert len(variants) == (1 if mode is CandidateMode.SHADOW else 2)
