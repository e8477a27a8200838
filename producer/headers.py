"""Headers of an event's record: CloudEvents' attributes and the trace that it belongs to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from producer.outbox import Headers
from schemas.clickstream import ClickstreamEvent
from schemas.errors import EventError
from schemas.trace_context import TRACEPARENT, TRACESTATE, is_traceparent

TYPE_PREFIX = "innerloop.clickstream."
"""Of `ce_type`; the event's type follows."""

_YEAR_9999_MS = 253_402_300_799_999
_CONTENT_TYPES = {"json": b"application/json", "avro": b"application/avro"}


class EventHeaders:
    """Makes headers after CloudEvents 1.0's Kafka binding, in binary mode.

    The value stays the event as it is; `ce_specversion`, `ce_id`, `ce_type`, `ce_source`,
    `ce_time` and `content-type` stand beside it, and `traceparent` (with `tracestate`) if a trace
    is known. No header holds a user id.

    Args:
        source: `ce_source`: who publishes, a URI reference such as `https://shop.example/checkout`.
        wire_format: `json` or `avro`.
        trace: look for OpenTelemetry's current span where no `traceparent` is given.

    Raises:
        EventError: `source` is no URI reference.
    """

    def __init__(self, source: str, wire_format: str, *, trace: bool = True) -> None:
        if not source or not source.isprintable() or " " in source:
            raise EventError(
                "source: has to be a URI reference that says who publishes, such as "
                "https://shop.example/checkout",
                "source",
            )
        self._fixed: Headers = [
            ("ce_specversion", b"1.0"),
            ("ce_source", source.encode()),
            ("content-type", _CONTENT_TYPES[wire_format]),
        ]
        self._current_trace = current_trace() if trace else None

    def of(
        self,
        event: ClickstreamEvent,
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> Headers:
        """Return the headers of an event.

        Args:
            event: of the record.
            traceparent: of the trace that it belongs to.
            tracestate: that came with it.

        Raises:
            EventError: `traceparent` is none.
        """
        headers = [
            *self._fixed,
            ("ce_id", event.event_id.encode()),
            ("ce_type", (TYPE_PREFIX + event.type.value).encode()),
        ]
        if event.time <= _YEAR_9999_MS:  # what RFC 3339 can write; `ce_time` is optional
            headers.append(("ce_time", _rfc3339(event.time)))
        if traceparent is not None:
            if not isinstance(traceparent, str) or not is_traceparent(traceparent):
                raise EventError(
                    "traceparent: is not version-traceid-parentid-flags in lower-case "
                    "hexadecimal (https://www.w3.org/TR/trace-context)",
                    "traceparent",
                )
            headers.append((TRACEPARENT, traceparent.encode()))
            if tracestate is not None:
                headers.append((TRACESTATE, tracestate.encode()))
        elif self._current_trace is not None:
            carrier = self._current_trace()
            headers += [(name, value.encode()) for name, value in carrier.items()]
        return headers


def current_trace() -> Callable[[], dict[str, str]] | None:
    """Return a function to the W3C headers of OpenTelemetry's current span; None without it."""
    try:
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
            TraceContextTextMapPropagator,
        )
    except ImportError:
        return None
    inject = TraceContextTextMapPropagator().inject

    def headers() -> dict[str, str]:
        carrier: dict[str, str] = {}
        inject(carrier)
        return carrier

    return headers


def _rfc3339(epoch_ms: int) -> bytes:
    at = datetime.fromtimestamp(epoch_ms // 1000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{epoch_ms % 1000:03d}Z".encode()
