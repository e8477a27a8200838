"""Publish: produce records and wait until the brokers have acknowledged every one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import overload

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.errors import BrokerError
from schemas.kafka_refusals import told

_LOG = logging.getLogger(__name__)
_POLL_S = 0.1

Headers = list[tuple[str, str | bytes | None]]
"""Name and content of each header of a record to be produced."""


@dataclass(frozen=True, slots=True)
class OutgoingRecord:
    """A record to be produced."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers | None = None
    without_value: Callable[[], OutgoingRecord] | None = None
    """Makes what to produce instead where the topic does not take a value of this size."""


@dataclass(frozen=True, slots=True)
class RecordColumns(Sequence[OutgoingRecord]):
    """Records of one topic, a column a field; as a sequence, it makes each record when asked."""

    topic: str
    partitions: Sequence[int]
    keys: Sequence[bytes]
    values: Sequence[bytes | None]
    headers: Sequence[Headers | None] = ()
    """Empty where no record has any."""

    def rows(self) -> Iterator[tuple[int, bytes, bytes | None]]:
        """Yield partition, key and value of each record, in order."""
        return zip(self.partitions, self.keys, self.values, strict=True)

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, place: int) -> OutgoingRecord: ...

    @overload
    def __getitem__(self, place: slice) -> RecordColumns: ...

    def __getitem__(self, place: int | slice) -> OutgoingRecord | RecordColumns:
        if isinstance(place, slice):
            return RecordColumns(
                self.topic,
                self.partitions[place],
                self.keys[place],
                self.values[place],
                self.headers[place] if self.headers else (),
            )
        return OutgoingRecord(
            self.topic,
            self.partitions[place],
            self.keys[place],
            self.values[place],
            self.headers[place] if self.headers else None,
        )

    def __iter__(self) -> Iterator[OutgoingRecord]:
        headers = self.headers or repeat(None)
        return (
            OutgoingRecord(self.topic, *row, of_row)
            for row, of_row in zip(self.rows(), headers, strict=bool(self.headers))
        )


def joined(*parts: Sequence[OutgoingRecord]) -> Sequence[OutgoingRecord]:
    """Return records one after the other, as columns where they are columns of one topic."""
    filled = [part for part in parts if part]
    if len(filled) == 1:
        return filled[0]
    columns = [part for part in filled if isinstance(part, RecordColumns)]
    if filled and len(columns) == len(filled) and len({part.topic for part in columns}) == 1:
        return RecordColumns(
            columns[0].topic,
            [partition for part in columns for partition in part.partitions],
            [key for part in columns for key in part.keys],
            [value for part in columns for value in part.values],
            _joined_headers(columns),
        )
    return [record for part in filled for record in part]


def _joined_headers(parts: Sequence[RecordColumns]) -> Sequence[Headers | None]:
    if not any(part.headers for part in parts):
        return ()
    return [of_row for part in parts for of_row in part.headers or [None] * len(part)]


class PublishError(BrokerError):
    """The brokers did not take a record: nothing may be committed."""


class Publisher:
    """Produces records in batches.

    Args:
        producer: an idempotent one, used by nobody else.
    """

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._failure: tuple[str, KafkaError] | None = None
        self._too_large: list[OutgoingRecord] = []

    def publish(self, records: Sequence[OutgoingRecord]) -> None:
        """Produce records; blocks until all are acknowledged.

        A record that is too large for its topic is produced again without its value, if it says how
        that is done.

        Raises:
            PublishError: a record was not acknowledged. Others of the batch may have been.
        """
        self._failure = None
        for record in self._send(records):
            # Brokers limit whole batches: it may have been too large only for its company.
            if self._send([record]) and record.without_value is not None:
                _LOG.warning(
                    "a dead letter is too large for %s; its value is left out", record.topic
                )
                self._send([record.without_value()])

    def _send(self, records: Sequence[OutgoingRecord]) -> list[OutgoingRecord]:
        """Produce records and return those that were too large and have a substitute."""
        if isinstance(records, RecordColumns):
            self._produce_columns(records)
        else:
            for record in records:
                self._produce(record)
        # Every record is acknowledged or has failed when its message.timeout.ms is over. Nothing
        # is left to wait for only when the callbacks of all that failed were called.
        try:
            while self._producer.flush(_POLL_S):
                self._raise_failure()
        except KafkaException as error:  # the producer has come to its end
            raise PublishError(
                f"the brokers take no records any more: {told(error.args[0])}; nothing of this "
                "micro-batch is committed, so a restart takes it up again"
            ) from error
        self._raise_failure()
        too_large, self._too_large = self._too_large, []
        return too_large

    def _produce_columns(self, records: RecordColumns) -> None:
        if records.headers:
            for record in records:
                self._produce(record)
            return
        produce, topic, delivered = self._producer.produce, records.topic, self._on_delivery
        for partition, key, value in records.rows():
            try:
                produce(topic, value, key, partition, delivered)  # by position: a third faster
            except (BufferError, KafkaException):
                self._produce(OutgoingRecord(topic, partition, key, value))

    def _produce(self, record: OutgoingRecord) -> None:
        while True:
            try:
                self._producer.produce(
                    record.topic,
                    key=record.key,
                    value=record.value,
                    partition=record.partition,
                    headers=record.headers,
                    on_delivery=self._callback(record),
                )
            except BufferError:  # the local queue is full; deliveries make room
                self._producer.poll(_POLL_S)
                self._raise_failure()
            except KafkaException as error:
                self._delivered(record, error.args[0])
                return
            else:
                return

    def _callback(self, record: OutgoingRecord) -> Callable[[KafkaError | None, Message], None]:
        if record.without_value is None:
            return self._on_delivery
        return lambda error, _message: self._delivered(record, error)

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failure = (message.topic() or "", error)

    def _delivered(self, record: OutgoingRecord, error: KafkaError | None) -> None:
        if error is None:
            return
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE and record.without_value is not None:
            self._too_large.append(record)
        else:
            self._failure = (record.topic, error)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            topic, error = self._failure
            raise PublishError(
                f"the brokers did not take a record for topic {topic}: {told(error)}; nothing of "
                "this micro-batch is committed, so a restart takes it up again"
            )
