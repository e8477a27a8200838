"""Which spans a micro-batch leaves, and which headers its recommendations carry."""

from __future__ import annotations

import pytest
from confluent_kafka import Message
from opentelemetry.trace import SpanKind, StatusCode
from traced_worker import STAGES, TracedWorker, traced_message, traceparent
from worker_parts import Worker, event, message

from schemas.clickstream import EventType
from schemas.settings import TracingSettings, WorkerSettings
from worker.metrics import Stage


def hexadecimal(span) -> tuple[str, str]:
    context = span.get_span_context()
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def linked(span) -> list[tuple[int, int]]:
    return [(link.context.trace_id, link.context.span_id) for link in span.links]


def context_of(span) -> tuple[int, int]:
    context = span.get_span_context()
    return context.trace_id, context.span_id


def test_a_sampled_event_is_followed_to_its_recommendation():
    worker = TracedWorker()
    worker.process(
        traced_message(event("u", 0, "i1"), 7, traceparent(5), "shop=1"),
        traced_message(event("v", 0, "i2"), 8),
    )
    (process,) = worker.ended("process")
    assert (process.name, process.kind) == ("process clickstream", SpanKind.CONSUMER)
    assert (process.context.trace_id, process.parent.span_id) == (5, 5)
    assert process.parent.is_remote
    assert dict(process.attributes) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "clickstream",
        "messaging.destination.partition.id": "0",
        "messaging.consumer.group.name": "innerloop-worker",
        "messaging.kafka.offset": 7,
        "innerloop.outcome": "applied",
    }
    (send,) = worker.ended("send")
    assert (send.name, send.kind) == ("send recommendations", SpanKind.PRODUCER)
    assert context_of(process) == (send.parent.trace_id, send.parent.span_id)
    trace_id, span_id = hexadecimal(send)
    assert worker.headers() == {
        "u-0": {"traceparent": f"00-{trace_id}-{span_id}-01", "tracestate": "shop=1"},
        "v-0": {},
    }
    (batch,) = worker.ended("innerloop.micro_batch")
    assert batch.parent is None and batch.attributes["messaging.batch.message_count"] == 2
    assert linked(batch) == [context_of(process)]
    assert linked(process) == [(5, 5), context_of(batch)]
    assert worker.counted("traced") == 1


def test_the_stages_are_spans_below_that_of_the_micro_batch():
    worker = TracedWorker()
    worker.parts.metrics.took(Stage.POLL, 1.0, 1.5)
    worker.process(traced_message(event("u", 0), 0, traceparent(5)))
    (batch,) = worker.ended("innerloop.micro_batch")
    stages = [span for span in worker.ended() if span.parent and not span.links]
    stages = [span for span in stages if span.parent.span_id == batch.context.span_id]
    assert [span.name for span in stages] == ["poll", *STAGES]
    assert stages[0].end_time - stages[0].start_time == pytest.approx(5e8, abs=1)
    assert batch.start_time == stages[0].start_time
    assert [s.start_time for s in stages] == sorted(s.start_time for s in stages)
    worker.process(traced_message(event("u", 1), 1, traceparent(6)))
    assert len([span for span in worker.ended() if span.name == "fold"]) == 2
    assert len([span for span in worker.ended() if span.name == "poll"]) == 1


def test_spans_end_when_the_answer_is_visible():
    worker = TracedWorker(visible_at_once=False)
    worker.process(traced_message(event("u", 0), 0, traceparent(5)))
    worker.process(message(b"garbage", b"k", 1))
    assert sorted(span.name for span in worker.ended()) == sorted(STAGES)
    worker.visible()
    assert [len(worker.ended(name)) for name in ("process", "send", "innerloop")] == [1, 1, 1]
    worker.visible()
    assert len(worker.ended()) == 3 + len(STAGES)


def test_what_is_not_sampled_leaves_nothing():
    worker = TracedWorker()
    strange = ["x", "ff" + traceparent(5)[2:], traceparent(0), traceparent(5) + "-more"]
    worker.process(
        traced_message(event("a", 0), 0, traceparent(5, sampled=False)),
        traced_message(event("b", 0), 1),
        *(traced_message(event(f"c{n}", 0), 2 + n, trace) for n, trace in enumerate(strange)),
        message(b"{}", b"k", 9, headers=[("traceparent", b"\xff\xfe" * 40)]),
        message(b"{}", b"k", 10, headers=[("traceparent", traceparent(5).encode())] * 2),
        message(b"{}", b"k", 11, headers=[("x", b"")] * 200),
    )
    assert not worker.ended()
    assert set(map(bool, worker.headers().values())) == {False}
    assert len(worker.headers()) == 6
    assert worker.counted("traced") == 0
    assert worker.counted("malformed") == 6  # one has the look of a trace that is not sampled


def test_events_without_a_trace_begin_one_by_chance():
    worker = TracedWorker(TracingSettings(sample_ratio=0.25), chances=[0.3, 0.2, 0.1])
    worker.process(
        traced_message(event("a", 0), 0),
        traced_message(event("b", 0), 1),
        traced_message(event("c", 0), 2, traceparent(5, sampled=False)),
        traced_message(event("d", 0), 3, "nonsense"),
    )
    roots = worker.ended("process")
    assert [span.attributes["messaging.kafka.offset"] for span in roots] == [1, 3]
    assert all(span.parent is None for span in roots)
    headers = worker.headers()
    for name, root in zip(("b-0", "d-0"), roots, strict=True):
        assert headers[name]["traceparent"][3:35] == hexadecimal(root)[0]
    assert not headers["a-0"] and not headers["c-0"]


def test_no_more_than_so_many_are_traced_in_a_second():
    worker = TracedWorker(TracingSettings(events_per_second=3))
    events = [traced_message(event(f"u{n}", 0), n, traceparent(n + 1)) for n in range(5)]
    worker.process(*events)
    assert len(worker.ended("process")) == 3
    assert (worker.counted("traced"), worker.counted("limited")) == (3, 2)
    assert sum(map(bool, worker.headers().values())) == 3


def test_what_became_of_an_event_is_told():
    worker = TracedWorker()
    silent = event("u", 1, consent=False)
    worker.process(
        traced_message(event("u", 0), 0, traceparent(1)),
        traced_message(event("u", 0), 1, traceparent(2)),
        traced_message(silent, 2, traceparent(3)),
        message(b"garbage", b"k", 3, headers=[("traceparent", traceparent(4).encode())]),
    )
    spans = worker.ended("process")
    outcomes = {span.context.trace_id: span.attributes["innerloop.outcome"] for span in spans}
    assert outcomes == {1: "applied", 2: "repeated", 3: "no_consent", 4: "dead_letter"}
    (dead,) = [span for span in spans if span.status.status_code is StatusCode.ERROR]
    assert (dead.context.trace_id, dead.attributes["error.type"]) == (4, "malformed")
    assert len(worker.ended("send")) == 1
    ((_, _, headers),) = worker.parts.journal.dead_letters()
    assert headers["traceparent"] == traceparent(4), "a dead letter keeps its own headers"


def test_an_event_that_its_user_bars_is_told():
    worker = TracedWorker()
    messages = [traced_message(event("u", n), n, traceparent(n + 1)) for n in range(2)]
    batch = worker.traces.begin(messages)
    worker_events = worker.parts.processor._decoder.decode(messages).events
    marked = batch.mark(worker_events, [])
    batch.admitted(type(marked)(traces=marked.traces[:1]))
    batch.visible()
    outcomes = [span.attributes["innerloop.outcome"] for span in worker.ended("process")]
    assert outcomes == ["repeated", "barred"]


def test_events_answered_together_are_linked_and_the_latest_goes_on():
    worker = TracedWorker(worker=WorkerSettings(top_k=5, recent_events=8, coalesce=True))
    worker.process(
        traced_message(event("u", 0), 0, traceparent(1)),
        traced_message(event("u", 1), 1, traceparent(2)),
        traced_message(event("u", 2), 2),
        traced_message(event("v", 0), 3),
    )
    first, second = worker.ended("process")
    (send,) = worker.ended("send")
    assert send.parent.span_id == second.context.span_id
    assert linked(send) == [context_of(first)]
    assert {s.attributes["innerloop.outcome"] for s in (first, second)} == {"applied"}
    headers = worker.headers()
    assert headers["u-2"]["traceparent"].startswith(f"00-{2:032x}-")
    assert headers["v-0"] == {}


def test_an_event_whose_answer_is_put_off_stays_open_until_then():
    settings = WorkerSettings(top_k=5, recent_events=8, min_interval_ms=1000)
    worker = TracedWorker(worker=settings)
    worker.process(traced_message(event("u", 0), 0))
    worker.process(traced_message(event("u", 1), 1, traceparent(1)))
    assert not worker.ended("process")
    assert worker.ended("innerloop.micro_batch"), "its micro-batch is over"
    worker.parts.now_s = 2.0
    worker.process()
    (process,) = worker.ended("process")
    (send,) = worker.ended("send")
    assert send.parent.span_id == process.context.span_id
    assert worker.headers()["u-1"]["traceparent"].startswith(f"00-{1:032x}-")


def test_what_is_not_delivered_ends_as_a_failure():
    worker = TracedWorker(visible_at_once=False)
    worker.process(traced_message(event("u", 0), 0, traceparent(5)))
    worker.traces.abandon()
    open_ones = [span for span in worker.ended() if span.name not in STAGES]
    assert len(open_ones) == 3
    assert {span.status.status_code for span in open_ones} == {StatusCode.ERROR}
    worker.visible()
    assert len(worker.ended()) == 3 + len(STAGES), "none ends twice"


def test_no_span_names_a_user_an_item_or_an_event():
    worker = TracedWorker()
    secret = event("shopper-4711", 0, "i3", event_id="event-4712", type=EventType.PURCHASE)
    worker.process(traced_message(secret, 0, traceparent(5)))
    assert len(worker.ended("process")) == 1
    told = "".join(span.to_json() for span in worker.ended())
    for name in ("4711", "4712", '"i3"'):
        assert name not in told


class Sealed(Message):
    """A record whose headers are not to be looked at."""

    def headers(self):
        raise AssertionError("headers were read")


def test_without_tracing_no_headers_are_read():
    worker = Worker()
    found = traced_message(event("u", 0), 0)
    sealed = Sealed(
        topic="clickstream",
        partition=0,
        offset=0,
        key=found.key(),
        value=found.value(),
        timestamp=found.timestamp(),
    )
    worker.processor.process([sealed])
    assert len(worker.journal.recommendations()) == 1
