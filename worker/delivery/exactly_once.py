"""Exactly once: results and offsets of one or more micro-batches are one transaction.

A transaction covers whole micro-batches only. It is committed when no more records are waiting, or
when it has been open for `interval_s`, and before partitions go to another worker. What it holds is
kept until then: if it must be aborted while the partitions are still this worker's, the same
records are produced again in another one. If they are not, everything in memory is of no use, and
`TransactionLostError` says so.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from schemas.errors import BrokerError
from schemas.kafka_refusals import AUTHORIZATION, told
from worker.delivery.errors import TransactionAbortableError, TransactionLostError
from worker.delivery.membership import Membership
from worker.delivery.transactional_producer import TransactionalProducer
from worker.metrics import Rebalance, Stage, TransactionEnd, WorkerMetrics
from worker.stages.publish import OutgoingRecord, RecordColumns

_LOG = logging.getLogger(__name__)

_POLL_S = 0.1
_DELIVERY_S = 60.0
_TRY_FOR_S = 10.0
"""How long the same transaction is tried again before its partitions count as lost."""
_RETRY_S = 0.05


class ExactlyOnce:
    """Delivers by transactions.

    Args:
        producer: makes the transactions.
        membership: of the consumer that reads the clickstream.
        topic: full name of `clickstream`.
        metrics: of the transactions.
        interval_s: how long a transaction may take up further micro-batches, seconds.
        requests_topic: full name of `privacy`.
    """

    def __init__(
        self,
        producer: TransactionalProducer,
        membership: Membership,
        topic: str,
        metrics: WorkerMetrics,
        *,
        interval_s: float,
        requests_topic: str = "",
    ) -> None:
        self._transactions = producer
        self._producer = producer.producer
        self._membership = membership
        self._topic = topic
        self._metrics = metrics
        self._interval_s = interval_s
        self._visible: Callable[[int], None] = lambda _: None
        self._batches = 0
        """Whole micro-batches that wait for the commit."""
        self._records: list[OutgoingRecord | RecordColumns] = []
        self._requests_topic = requests_topic
        self._offsets: dict[tuple[str, int], int] = {}
        self._complete = True
        """Whether the offsets of all records are there: no micro-batch is under way."""
        self._open = False
        """Whether the producer is in a transaction."""
        self._begun = 0.0
        self._failed_since: float | None = None
        self._alone: set[int] = set()
        self._too_large: list[int] = []
        self._failure: str | None = None
        self._refused: str | None = None
        """What the brokers will not take in any other transaction either."""
        self._halted = False
        """Whether the producer takes no more records in this transaction."""
        self._reason = ""
        self._lost: BrokerError | None = None

    def start(self) -> None:
        """Have what an earlier worker of the same id left open aborted.

        Raises:
            BrokerError: the brokers do not do it.
        """
        self._transactions.start()

    def on_visible(self, visible: Callable[[int], None]) -> None:
        """Have this called after each commit, with the number of its micro-batches."""
        self._visible = visible

    @property
    def due_s(self) -> float:
        """Infinite: `settle` waits for what is going on."""
        return math.inf

    def polled(self) -> None:
        """Take note that all callbacks of the group were served.

        Raises:
            TransactionLostError: partitions went before their records could be committed.
            FencedError: the producer may write nothing more.
        """
        if self._lost is not None:
            raise self._lost
        self._membership.observe()

    def publish(self, records: Sequence[OutgoingRecord]) -> None:
        """Produce records in the open transaction; their acknowledgement is not waited for.

        Raises:
            FencedError: the producer may write nothing more.
        """
        self._complete = False
        first = len(self._records)
        if not isinstance(records, RecordColumns):
            self._records += records
        elif records:
            self._records.append(records)
        if self._failed_since is None:  # else they are produced with all the others, again
            self._produce_from(first)

    def take_up(self, requests: Mapping[int, int]) -> None:
        """Add offsets of `privacy` to the transaction."""
        self._offsets |= {(self._requests_topic, n): offset for n, offset in requests.items()}

    def commit(self, next_offsets: Mapping[int, int]) -> None:
        """Add the offsets of a micro-batch, which is complete with them, to the transaction."""
        self._offsets |= {(self._topic, n): offset for n, offset in next_offsets.items()}
        self._complete = True
        self._batches += 1

    def settle(self, *, more: bool) -> None:
        """Commit the transaction, unless more records are waiting and its time is not over.

        Raises:
            TransactionLostError: it could not be committed for ten seconds.
            FencedError: the producer may write nothing more.
            BrokerError: the coordinator cannot be reached, or refuses.
        """
        if not self._offsets:
            return
        if more and self._open and time.monotonic() < self._begun + self._interval_s:
            return
        if self._try() or self._failed_since is None:
            return
        if time.monotonic() > self._failed_since + _TRY_FOR_S:
            raise TransactionLostError(
                f"a transaction of {self._transactions.name} was aborted again and again: "
                f"{self._reason}"
            )
        time.sleep(_RETRY_S)

    def give_up(self, how: Rebalance) -> None:
        """Commit before partitions are revoked; abort where they are lost already."""
        if how is Rebalance.ASSIGNED or not (self._records or self._offsets):
            return
        if self._transactions.done_for:
            return
        try:
            if how is Rebalance.REVOKED and self._complete:
                self._membership.observe()
                if self._try():
                    return
            self._abort()
        except BrokerError as error:
            self._lost = error
            return
        self._forget()
        self._lost = TransactionLostError(
            f"partitions were {how.value} before a transaction of {self._transactions.name} could "
            "be committed"
        )

    def close(self) -> bool:
        """Commit what is complete, abort what is not; failures are logged, as it is the end.

        Returns:
            Whether everything that was published is committed.
        """
        if self._transactions.done_for or self._lost is not None:
            return False
        delivered = not (self._records or self._offsets)
        try:
            if self._complete and self._offsets and self._try():
                delivered = True
            else:
                self._abort()
        except BrokerError as error:
            _LOG.warning("the last transaction is left to time out: %s", error)
        self._forget()
        return delivered

    def _try(self) -> bool:
        """Commit; on failure abort and return False. What is too large is left out at once."""
        while True:
            try:
                with self._metrics.time(Stage.COMMIT):
                    self._commit()
            except TransactionAbortableError as error:
                self._reason = self._failure or str(error)
                _LOG.warning("a transaction is aborted: %s", self._reason)
                self._abort()
                if self._failed_since is None:
                    self._failed_since = time.monotonic()
                if self._failure is None and self._make_smaller():
                    continue
                return False
            self._metrics.transactions.labels(TransactionEnd.COMMITTED.value).inc()
            batches = self._batches
            self._forget()
            self._visible(batches)
            return True

    def _commit(self) -> None:
        if self._refused is not None:
            self._abort()
            raise BrokerError(f"the brokers do not take a record for topic {self._refused}")
        if self._failed_since is not None:
            self._produce_from(0)
        self._begin()  # offsets may have come without any record
        if self._failure is not None or self._halted:
            raise TransactionAbortableError(self._failure or "a record was not taken")
        metadata = self._membership.metadata
        if metadata is None:
            raise TransactionAbortableError("the consumer is in no group")
        offsets = [TopicPartition(*place, offset) for place, offset in self._offsets.items()]
        self._transactions.commit(offsets, metadata)
        self._open = False

    def _begin(self) -> None:
        if not self._open:
            self._too_large.clear()
            self._failure = None
            self._halted = False
            self._transactions.begin()
            self._open = True
            self._begun = time.monotonic()

    def _abort(self) -> None:
        if self._open:
            self._transactions.abort()
            self._transactions.poll(0)  # what became of its records
            self._open = False
            self._metrics.transactions.labels(TransactionEnd.ABORTED.value).inc()

    def _forget(self) -> None:
        self._records = []
        self._offsets = {}
        self._batches = 0
        self._alone.clear()
        self._complete = True
        self._failed_since = None

    def _produce_from(self, first: int) -> None:
        self._begin()
        for place in range(first, len(self._records)):
            records = self._records[place]
            if isinstance(records, RecordColumns):
                self._produce_columns(place, records)
            elif place in self._alone:
                self._transactions.flush(_DELIVERY_S)
                self._produce(place, records)
                self._transactions.flush(_DELIVERY_S)
            else:
                self._produce(place, records)
        self._transactions.poll(0)

    def _produce_columns(self, place: int, records: RecordColumns) -> None:
        if records.headers:
            for record in records:
                self._produce(place, record)
            return
        produce, topic, delivered = self._producer.produce, records.topic, self._on_delivery
        for partition, key, value in records.rows():
            if self._failure is not None or self._halted:
                return
            try:
                produce(topic, value, key, partition, delivered)
            except (BufferError, KafkaException):
                self._produce(place, OutgoingRecord(topic, partition, key, value))

    def _produce(self, place: int, record: OutgoingRecord) -> None:
        while self._failure is None and not self._halted:
            try:
                self._producer.produce(
                    record.topic,
                    key=record.key,
                    value=record.value,
                    partition=record.partition,
                    headers=record.headers,
                    on_delivery=self._callback(place, record),
                )
            except BufferError:  # the local queue is full; deliveries make room
                self._transactions.poll(_POLL_S)
            except KafkaException as exception:
                error: KafkaError = exception.args[0]
                self._transactions.check(error)
                if error.code() == KafkaError.MSG_SIZE_TOO_LARGE and record.without_value:
                    record = self._records[place] = _substitute(record)
                elif error.code() == KafkaError._STATE:
                    self._halted = True  # an earlier record was refused; its callback says why
                else:
                    self._failure = f"{record.topic}: {error.str()}"
            else:
                return

    def _callback(
        self, place: int, record: OutgoingRecord
    ) -> Callable[[KafkaError | None, Message], None]:
        if record.without_value is None:
            return self._on_delivery
        return lambda error, message: self._delivered(place, error, message)

    def _delivered(self, place: int, error: KafkaError | None, message: Message) -> None:
        if error is not None and error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            self._too_large.append(place)
        else:
            self._on_delivery(error, message)

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        # What is purged was not refused: its transaction is aborted for another record's sake.
        if error is not None and error.code() not in _PURGED:
            if error.code() in AUTHORIZATION:
                self._refused = f"{message.topic()}: {told(error)}"
            self._failure = f"{message.topic()}: {error.str()}"

    def _make_smaller(self) -> bool:
        """Change how records that were too large are produced; tell whether there are any."""
        for place in self._too_large:
            if place in self._alone:
                self._records[place] = _substitute(self._records[place])
            else:  # brokers limit whole batches: it may have been too large only for its company
                self._alone.add(place)
        return bool(self._too_large)


_PURGED = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})


def _substitute(record: OutgoingRecord | RecordColumns) -> OutgoingRecord:
    assert isinstance(record, OutgoingRecord) and record.without_value is not None
    _LOG.warning("a dead letter is too large for %s; its value is left out", record.topic)
    return replace(record.without_value(), without_value=None)
