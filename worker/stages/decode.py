"""Decode: records to columns of events, and the records that cannot be used, with the reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from confluent_kafka import Message
from numpy.typing import NDArray

from schemas.clickstream import ClickstreamEvent, EventType
from schemas.codec import DECODE_ERRORS, Codec, decode_error
from schemas.dead_letter import DeadLetterReason
from schemas.errors import DecodeError

if TYPE_CHECKING:
    from worker.tracing.event_trace import EventTrace

NO_TIMESTAMP = -1
Header = tuple[str, bytes | None]
"""Name and content of a record's header."""


@dataclass(frozen=True)
class EventColumns:
    """The usable events of a micro-batch, a column a field, in the order of their records."""

    event_ids: list[str] = field(default_factory=list)
    user_ids: list[str] = field(default_factory=list)
    types: list[EventType] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    """Event time, milliseconds since the epoch."""
    item_ids: list[str | None] = field(default_factory=list)
    queries: list[str | None] = field(default_factory=list)
    partitions: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    record_times: list[int] = field(default_factory=list)
    """Timestamp of the record, milliseconds since the epoch; `NO_TIMESTAMP` if it has none."""
    surfaces: list[str | None] = field(default_factory=list)
    """Where it happened; empty if that was not asked for."""
    traces: list[EventTrace | None] = field(default_factory=list)
    """Of the events that are traced; empty if none is."""

    def __len__(self) -> int:
        return len(self.event_ids)

    @classmethod
    def of(cls, events: Sequence[ClickstreamEvent], messages: Sequence[Message]) -> EventColumns:
        """Return events, each with the record that it came in, as columns."""
        places = [position(message) for message in messages]
        return cls(
            event_ids=[event.event_id for event in events],
            user_ids=[event.user_id for event in events],
            types=[event.type for event in events],
            times=[event.time for event in events],
            item_ids=[event.item_id for event in events],
            queries=[event.query for event in events],
            partitions=[partition for partition, _ in places],
            offsets=[offset for _, offset in places],
            record_times=[record_time(message) for message in messages],
            surfaces=[event.surface for event in events],
        )


def pick(events: EventColumns, positions: NDArray[np.int64]) -> EventColumns:
    """Return some of the events, in the order of their positions."""
    chosen = positions.tolist()
    columns: dict[str, list[Any]] = {
        name: [column[i] for i in chosen]
        for name, column in vars(events).items()
        if column  # one that was not asked for is empty
    }
    return EventColumns(**columns)


@dataclass(frozen=True)
class DeadLetter:
    """A record that cannot be used, and why."""

    message: Message
    reason: DeadLetterReason
    error_class: str
    text: str
    """For a person; holds no id."""


@dataclass(frozen=True)
class Decoded:
    """What became of the records of a micro-batch."""

    events: EventColumns
    dead_letters: list[DeadLetter]
    without_consent: int
    """Events dropped unread and unstored."""


class Decoder:
    """Decodes the records of `clickstream` and checks what no schema can say.

    Beyond the message's own rules a record must not be larger than the limit, its key must be the
    event's user id (whoever publishes without one breaks the order of a user's events, so a missing
    or empty key is refused too), and its time must not be in the future.

    Args:
        codec: the wire format.
        max_bytes: most bytes of a value.
        max_future_ms: how far ahead of now an event's time may be.
        now_ms: the clock, milliseconds since the epoch.
    """

    def __init__(
        self, codec: Codec, *, max_bytes: int, max_future_ms: int, now_ms: Callable[[], int]
    ) -> None:
        self._decode = codec.decoder(ClickstreamEvent)
        self._max_bytes = max_bytes
        self._max_future_ms = max_future_ms
        self._now_ms = now_ms

    def decode(self, messages: Sequence[Message]) -> Decoded:
        """Decode records.

        Raises:
            RegistryError: the schema registry cannot be asked; no record is at fault.
        """
        events: list[ClickstreamEvent] = []
        sources: list[Message] = []
        dead: list[DeadLetter] = []
        without_consent = 0
        latest = self._now_ms() + self._max_future_ms
        for message in messages:
            try:
                event = self._event(message, latest)
            except DecodeError as error:
                cause = type(error.__cause__ or error).__name__
                dead.append(DeadLetter(message, error.reason, cause, str(error)))
                continue
            if event.consent:
                events.append(event)
                sources.append(message)
            else:
                without_consent += 1
        return Decoded(EventColumns.of(events, sources), dead, without_consent)

    def _event(self, message: Message, latest: int) -> ClickstreamEvent:
        value = message.value()
        if not value:
            raise DecodeError("the value is empty", DeadLetterReason.EMPTY_VALUE)
        if len(value) > self._max_bytes:
            raise DecodeError(
                f"the value has {len(value)} bytes; worker.max_event_bytes is {self._max_bytes}",
                DeadLetterReason.TOO_LARGE,
            )
        try:
            event = self._decode(value)
        except DECODE_ERRORS as error:
            raise decode_error(error, value) from error
        key = message.key()
        if not key or key != event.user_id.encode():
            raise DecodeError(
                f"the key is {'not the' if key else 'empty; it must be the'} event's user_id",
                DeadLetterReason.KEY_MISMATCH,
            )
        if event.time > latest:
            raise DecodeError(
                f"`time` {event.time} is too far in the future; the latest allowed now is {latest}",
                DeadLetterReason.TIME_OUT_OF_RANGE,
            )
        return event


def position(message: Message) -> tuple[int, int]:
    """Return partition and offset of a record that was read from a topic."""
    partition, offset = message.partition(), message.offset()
    assert partition is not None and offset is not None
    return partition, offset


def header_list(message: Message) -> list[Header]:
    """Return the headers of a record that was read from a topic, in order."""
    return cast("list[Header]", message.headers() or [])


def record_time(message: Message) -> int:
    """Return the record's timestamp, milliseconds since the epoch, or `NO_TIMESTAMP`."""
    _, milliseconds = message.timestamp()
    return int(milliseconds) if milliseconds > 0 else NO_TIMESTAMP
