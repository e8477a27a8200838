"""What is a trace context among a record's headers, and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.trace_context import (
    MOST_HEADERS,
    TraceContext,
    is_traceparent,
    parse_traceparent,
    says_unsampled,
    trace_context,
    traceparent_of,
    usable_tracestate,
)

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("value", "right"),
    [
        (TRACE, True),
        ("cc" + TRACE[2:] + "-more", True),
        (TRACE + "-more", False),
        ("cc" + TRACE[2:] + "more", False),
        ("ff" + TRACE[2:], False),
        (TRACE.upper(), False),
        ("00-" + "0" * 32 + TRACE[35:], False),
        (TRACE[:36] + "0" * 16 + "-01", False),
        (TRACE[:-1], False),
        (TRACE[:-1] + "²", False),
        ("", False),
    ],
)
def test_what_a_traceparent_is(value, right):
    assert is_traceparent(value) is right


def test_a_traceparent_is_taken_apart():
    found = parse_traceparent(TRACE)
    assert found == ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", 1)
    assert found.sampled
    assert not parse_traceparent(TRACE[:-2] + "02").sampled


@pytest.mark.parametrize("flags", range(256))
def test_the_quick_look_says_what_the_flags_say(flags):
    value = f"{TRACE[:-2]}{flags:02x}"
    assert says_unsampled(value.encode()) is not parse_traceparent(value).sampled


@given(st.binary(max_size=80))
def test_what_is_no_traceparent_is_never_taken_for_one(value):
    headers = [("traceparent", value)]
    found = trace_context(headers)
    assert found is None or is_traceparent(found.traceparent)
    assert says_unsampled(value) in {True, False}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (None, None),
        ([], None),
        ([("ce_id", b"e")], None),
        ([("traceparent", None)], None),
        ([("traceparent", "\u00e4".encode() * 28)], None),
        ([("Traceparent", TRACE.encode())], None),
        ([("a", b""), ("traceparent", TRACE.encode())], (TRACE, None)),
        ([("traceparent", TRACE.encode())] * 2, None),
        ([("x", b"")] * MOST_HEADERS + [("traceparent", TRACE.encode())], None),
        ([("traceparent", TRACE.encode()), ("tracestate", b"a=1")], (TRACE, "a=1")),
        ([("tracestate", b"a=1"), ("traceparent", b"x")], None),
        (
            [("tracestate", b"a=1"), ("traceparent", TRACE.encode()), ("tracestate", b"b=2")],
            (TRACE, "a=1,b=2"),
        ),
        ([("traceparent", TRACE.encode()), ("tracestate", b"\xff")], (TRACE, None)),
        ([("traceparent", TRACE.encode()), ("tracestate", None)], (TRACE, None)),
    ],
)
def test_the_context_among_headers(headers, expected):
    assert trace_context(headers) == (None if expected is None else TraceContext(*expected))


def test_several_traceparents_are_none_that_is_right():
    assert traceparent_of([("a", b"x")]) is None
    assert traceparent_of([("traceparent", b"x")]) == b"x"
    assert traceparent_of([("traceparent", b"x"), ("traceparent", b"y")]) == b""


@pytest.mark.parametrize("value", [None, "", "a=1" * 200, "a=\n", "a=\x00", "ä=1"])
def test_a_tracestate_that_cannot_go_on_is_left_out(value):
    assert usable_tracestate(value) is None
