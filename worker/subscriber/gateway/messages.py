"""A recommendation as a browser gets it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from schemas.trace_context import TRACEPARENT
from worker.subscriber.latest import Received
from worker.subscriber.titles import Titles

_encode = msgspec.json.Encoder().encode


def message_id(received: Received) -> str:
    """Return the recommendation's id, fit for a header and for a line of a stream."""
    return quote(received.recommendation.recommendation_id, safe=":")


def body(received: Received, titles: Titles | None = None) -> bytes:
    """Return the message as JSON, with `received_at`, `traceparent`, and titles that are known."""
    message: dict[str, Any] = msgspec.to_builtins(received.recommendation)
    message["received_at"] = received.received_at
    if received.trace is not None:
        message[TRACEPARENT] = received.trace.traceparent
    if titles is not None:
        for item in message["items"]:
            if title := titles.of(item["item_id"]):
                item["title"] = title
            support = item["reason"].get("item_id")
            if support is not None and (title := titles.of(support)):
                item["reason"]["title"] = title
    return _encode(message)


def event(received: Received, titles: Titles | None = None) -> bytes:
    """Return the message as a Server-Sent Event; JSON has no line breaks in it."""
    data = body(received, titles)
    return b"id: %b\nevent: recommendation\ndata: %b\n\n" % (message_id(received).encode(), data)


ERASED = b"event: erased\ndata: {}\n\n"
"""The user was removed."""
HEARTBEAT = b":\n\n"
