"""The `clickstream.dlq` record: the original key and value, byte for byte, and these headers.

They follow the original record's own headers. Between dead letters lie notes of what was replayed
(`ReplayHeader.OFFSETS`).
"""

from __future__ import annotations

import enum


class DeadLetterHeader(enum.StrEnum):
    """Header names; every value is UTF-8 text."""

    SOURCE_TOPIC = "innerloop.source.topic"
    SOURCE_PARTITION = "innerloop.source.partition"
    SOURCE_OFFSET = "innerloop.source.offset"
    SOURCE_TIMESTAMP = "innerloop.source.timestamp"
    """Milliseconds since the epoch, as the source record carries it."""
    REASON = "innerloop.error.reason"
    """A `DeadLetterReason`."""
    ERROR_CLASS = "innerloop.error.class"
    MESSAGE = "innerloop.error.message"
    STAGE = "innerloop.error.stage"


class ReplayHeader(enum.StrEnum):
    """Header names of what `innerloop dlq replay` writes; every value is UTF-8 text."""

    FROM = "innerloop.replayed.from"
    """On a record put back: partition/offset of its dead letter."""
    OFFSETS = "innerloop.replayed.offsets"
    """On a note, a record of `clickstream.dlq` without key and value: the offsets of its partition
    that were replayed, as 3-7,9."""


class DeadLetterReason(enum.StrEnum):
    """Why a record could not be used: the bounded set that metrics and alerts go by."""

    EMPTY_VALUE = "empty_value"
    TOO_LARGE = "too_large"
    INVALID_UTF8 = "invalid_utf8"
    MALFORMED = "malformed"
    INVALID_FIELD = "invalid_field"
    KEY_MISMATCH = "key_mismatch"
    TIME_OUT_OF_RANGE = "time_out_of_range"
    UNKNOWN_SCHEMA = "unknown_schema"
