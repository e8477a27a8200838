"""W3C trace context in the headers of records: `traceparent` and `tracestate`.

https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

MOST_HEADERS = 128
"""A record with more headers has no trace context: nobody looks through them all."""
_MOST_TRACESTATE = 512
"""Characters that have to be passed on; what is longer is left out."""
# Neither version ff nor ids of zeros.
_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})"
)
_TRACESTATE = re.compile(r"[\x20-\x7e]*")
_LENGTH = 55
"""Of a `traceparent` of version 00."""
_ENDS_OF_SAMPLED = frozenset(b"13579bdf")
"""Last digits of the flags whose lowest bit, sampled, is set."""

RecordHeaders = Sequence[tuple[str, str | bytes | None]]
"""Name and content of each header of a record."""


class TraceParent(NamedTuple):
    """A `traceparent`, taken apart."""

    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """16 hexadecimal digits."""
    flags: int

    @property
    def sampled(self) -> bool:
        """Whether the trace is being recorded."""
        return bool(self.flags & 1)


class TraceContext(NamedTuple):
    """The trace that a record belongs to."""

    traceparent: str
    tracestate: str | None = None

    def members(self) -> dict[str, str]:
        """Return what there is, by the headers' names."""
        state = {} if self.tracestate is None else {TRACESTATE: self.tracestate}
        return {TRACEPARENT: self.traceparent, **state}


def parse_traceparent(value: str) -> TraceParent | None:
    """Return what a `traceparent` of the version known, 00, or a later one says; None if none."""
    found = _TRACEPARENT.fullmatch(value[:_LENGTH])
    if found is None or not (len(value) == _LENGTH or (found[1] != "00" and value[_LENGTH] == "-")):
        return None
    return TraceParent(found[2], found[3], int(found[4], 16))


def is_traceparent(value: str) -> bool:
    """Return whether this is a W3C `traceparent` of the version known, 00, or a later one."""
    return parse_traceparent(value) is not None


def usable_tracestate(value: str | None) -> str | None:
    """Return a `tracestate` that can be passed on; None where there is none."""
    if not value or len(value) > _MOST_TRACESTATE or _TRACESTATE.fullmatch(value) is None:
        return None
    return value


def traceparent_of(headers: RecordHeaders) -> bytes | None:
    """Return the content of the only header `traceparent`, unchecked.

    Returns:
        None if there is no such header; b"" if there is more than one, or more than 128 headers.
    """
    if len(headers) > MOST_HEADERS:
        return b""
    found: bytes | None = None
    for name, value in headers:
        if name == TRACEPARENT:
            found = b"" if found is not None or not isinstance(value, bytes) else value
    return found


def says_unsampled(traceparent: bytes) -> bool:
    """Return whether this, if it is a `traceparent`, lacks the flag sampled: a quick look."""
    return len(traceparent) >= _LENGTH and traceparent[_LENGTH - 1] not in _ENDS_OF_SAMPLED


def trace_context(headers: RecordHeaders | None) -> TraceContext | None:
    """Return the trace context of a record; None where there is none, or none that is right."""
    if not headers:
        return None
    traceparent = (traceparent_of(headers) or b"").decode("latin-1")
    if not is_traceparent(traceparent):
        return None
    states = [value for name, value in headers if name == TRACESTATE and isinstance(value, bytes)]
    # Several are one list (RFC 9110, section 5.3).
    return TraceContext(traceparent, usable_tracestate(b",".join(states).decode("latin-1")))
