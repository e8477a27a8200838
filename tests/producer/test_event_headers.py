"""Headers after CloudEvents' Kafka binding and W3C's trace context."""

from __future__ import annotations

import builtins

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from producer.headers import EventHeaders, current_trace
from schemas.clickstream import ClickstreamEvent, EventType
from schemas.errors import EventError

EVENT = ClickstreamEvent(
    event_id="e-ü",
    user_id="secret",
    type=EventType.ADD_TO_CART,
    time=1_763_800_000_007,
    item_id="i",
)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_the_attributes_of_cloudevents_are_headers():
    headers = EventHeaders("https://shop.example/pay", "json", trace=False).of(EVENT)
    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "ce_id": "e-ü".encode(),
        "ce_type": b"innerloop.clickstream.add_to_cart",
        "ce_source": b"https://shop.example/pay",
        "ce_time": b"2025-11-22T08:26:40.007Z",
        "content-type": b"application/json",
    }
    assert len(headers) == len(dict(headers))


def test_avro_has_another_content_type():
    headers = dict(EventHeaders("/x", "avro", trace=False).of(EVENT))
    assert headers["content-type"] == b"application/avro"


def test_a_time_that_cannot_be_written_is_left_out():
    late = ClickstreamEvent(
        event_id="e", user_id="u", type=EventType.VIEW, time=2**63 - 1, item_id="i"
    )
    assert "ce_time" not in dict(EventHeaders("/x", "json", trace=False).of(late))


@pytest.mark.parametrize("source", ["", "a b", "line\nbreak"])
def test_a_source_that_is_no_uri_reference_is_refused(source):
    with pytest.raises(EventError, match=r"^source: "):
        EventHeaders(source, "json")


def test_a_traceparent_that_is_given_is_passed_through_and_a_wrong_one_is_not():
    headers = EventHeaders("/x", "json")
    assert dict(headers.of(EVENT, TRACE))["traceparent"] == TRACE.encode()
    for wrong in ("nonsense", 7):
        with pytest.raises(EventError, match=r"^traceparent: ") as caught:
            headers.of(EVENT, wrong)
        assert caught.value.field == "traceparent"


def test_a_tracestate_goes_with_its_traceparent():
    headers = EventHeaders("/x", "json")
    assert dict(headers.of(EVENT, TRACE, "a=1"))["tracestate"] == b"a=1"
    assert "tracestate" not in dict(headers.of(EVENT, None, "a=1"))


def test_the_current_span_is_taken_where_none_is_given():
    headers = EventHeaders("/x", "json")
    assert "traceparent" not in dict(headers.of(EVENT))
    tracer = TracerProvider().get_tracer("test")
    with tracer.start_as_current_span("checkout") as span:
        context = span.get_span_context()
        expected = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
        assert dict(headers.of(EVENT))["traceparent"] == expected.encode()
        assert dict(headers.of(EVENT, TRACE))["traceparent"] == TRACE.encode()
    assert not trace.get_current_span().get_span_context().is_valid


def test_without_opentelemetry_there_is_no_trace(monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **more):
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    assert current_trace() is None
    assert "traceparent" not in dict(EventHeaders("/x", "json").of(EVENT))
