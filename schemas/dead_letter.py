"""The `clickstream.dlq` record: the original key and value, byte for byte, and these headers."""

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
