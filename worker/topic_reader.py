"""Reading partitions from their beginning to their end, and on."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    Message,
    TopicPartition,
)

from schemas.errors import BrokerError
from schemas.kafka_refusals import told
from worker.offset_queries import held_offsets
from worker.open_transactions import OpenTransactions

_LOG = logging.getLogger(__name__)

_TELL_TIMEOUT_S = 30.0
_CHECK_TIMEOUT_S = 5.0


class PartitionReader:
    """Reads partitions of one topic whole; knows which it has read to their end.

    Args:
        consumer: in no group, with `enable.partition.eof`; used by nobody else.
        topic: full name.
        ends: one that reads uncommitted records. With it, a partition is not at its end before
            all transactions are over that were open there when it was first thought to be: what a
            worker killed in the midst of one left open hides what others have committed since.
        longest_transaction_s: after this time such a transaction is taken for a hanging one.
    """

    def __init__(
        self,
        consumer: Consumer,
        topic: str,
        ends: Consumer | None = None,
        longest_transaction_s: float = float("inf"),
    ) -> None:
        self._consumer = consumer
        self._topic = topic
        self._ends = ends
        self._open = OpenTransactions(
            topic,
            lambda number: self.end_offset(topic, number, _CHECK_TIMEOUT_S),
            longest_transaction_s,
        )
        self._targets: dict[int, int] = {}
        self._behind: set[int] = set()
        self._at_end: set[int] = set()
        self._positions: dict[int, int] = {}

    @property
    def topic(self) -> str:
        """Full name of the topic."""
        return self._topic

    @property
    def behind(self) -> frozenset[int]:
        """Partitions that may hold records not read yet."""
        return frozenset(self._behind)

    def add(self, partitions: Iterable[int], offsets: Mapping[int, int] | None = None) -> None:
        """Read these partitions too, from their beginning.

        Args:
            partitions: to read.
            offsets: where to begin instead in some of them.
        """
        begin = offsets or {}
        numbers = set(partitions) - self._behind - self._at_end
        if numbers:
            self._behind |= numbers
            self._positions |= {n: begin[n] for n in numbers & begin.keys()}
            self._consumer.incremental_assign(
                [TopicPartition(self._topic, n, begin.get(n, OFFSET_BEGINNING)) for n in numbers]
            )

    def remove(self, partitions: Iterable[int]) -> None:
        """Stop reading these partitions."""
        numbers = set(partitions) & (self._behind | self._at_end)
        if numbers:
            self._behind -= numbers
            self._at_end -= numbers
            for number in numbers:
                self._positions.pop(number, None)
                self._targets.pop(number, None)
                self._open.forget(number)
            self._consumer.incremental_unassign(
                [TopicPartition(self._topic, number) for number in numbers]
            )

    def read(self, most: int, wait_s: float) -> list[Message]:
        """Return up to `most` records; fewer, or none, when `wait_s` is over.

        Raises:
            BrokerError: the topic cannot be read, or not to its end for a hanging transaction.
        """
        records = []
        for message in self._consumer.consume(most, wait_s):
            number = message.partition()
            error = message.error()
            if number not in self._behind and number not in self._at_end:
                self._check(error)
            elif error is None:
                records.append(message)
                self._positions[number] = (message.offset() or 0) + 1
                self._move(number, at_end=False)
            elif error.code() == KafkaError._PARTITION_EOF:
                end = self._positions[number] = message.offset() or 0
                self._move(number, at_end=end >= self._target(number, end))
            else:
                self._check(error)
        for number in self._behind & self._targets.keys():
            self.await_offset(number, self._targets[number])
        return records

    def await_offset(self, partition: int, target: int) -> None:
        """Take note that a partition is to be read to `target` before something else can go on.

        Raises:
            BrokerError: it is not, and a hanging transaction is why.
        """
        if self.position(partition) < target:
            self._open.waited_for(partition, target)

    def position(self, partition: int) -> int:
        """Return the offset up to which a partition is read; 0 if nothing is known of it yet."""
        return self._positions.get(partition, 0)

    def lag(self, partition: int) -> int | None:
        """Return the offsets left to read, by what the latest fetch said; None if none did yet."""
        end = self._consumer.get_watermark_offsets(
            TopicPartition(self._topic, partition), cached=True
        )[1]
        return max(0, int(end) - self.position(partition)) if end >= 0 else None

    def close(self) -> None:
        """Close the consumers."""
        self._consumer.close()
        if self._ends is not None:
            self._ends.close()

    def end_offset(self, topic: str, partition: int, timeout_s: float) -> int:
        """Return the offset of the next record to be produced to a partition of any topic.

        Raises:
            BrokerError: the brokers do not tell.
        """
        return self.offsets(topic, partition, timeout_s).stop

    def written_end(self, partition: int, timeout_s: float) -> int:
        """Return the end of a partition of the topic, open transactions included.

        Raises:
            BrokerError: the brokers do not tell.
        """
        consumer = self._ends or self._consumer
        return held_offsets(consumer, self._topic, partition, timeout_s).stop

    def offsets(self, topic: str, partition: int, timeout_s: float) -> range:
        """Return the offsets that a partition of any topic holds: first kept, up to next produced.

        A partition whose leader is being elected, or has moved, is asked for again.

        Raises:
            BrokerError: the brokers do not tell.
        """
        return held_offsets(self._consumer, topic, partition, timeout_s)

    def _target(self, number: int, end: int) -> int:
        if self._ends is None:
            return end
        if number not in self._targets:
            self._targets[number] = self.written_end(number, _TELL_TIMEOUT_S)
        return self._targets[number]

    def _move(self, number: int, *, at_end: bool) -> None:
        to, other = (self._at_end, self._behind) if at_end else (self._behind, self._at_end)
        other.discard(number)
        to.add(number)

    def _check(self, error: KafkaError | None) -> None:
        if error is None or error.code() == KafkaError._PARTITION_EOF:
            return
        if error.fatal() or not error.retriable():
            raise BrokerError(f"{self._topic} cannot be read: {told(error)}")
        _LOG.warning("reading %s: %s", self._topic, error.str())
