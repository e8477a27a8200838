"""How far a consumer group is behind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, TopicPartition

from schemas.errors import BrokerError
from schemas.kafka_refusals import told
from schemas.settings import Settings
from schemas.topics import Topic
from worker.kafka_connection import (
    QUIET,
    REACH_TIMEOUT_S,
    connect,
    missing_topic,
    property_error,
)
from worker.offset_queries import held_offsets, persist


@dataclass(frozen=True)
class PartitionLag:
    """How far a consumer group is behind on one partition, in offsets.

    After compaction or transactions an offset may hold no record, so this bounds the records left.
    """

    topic: str
    partition: int
    committed: int | None
    """The next offset the group will read; None if it never committed one."""
    low: int
    high: int
    """First offset kept, and the offset of the next record to be produced."""

    @property
    def lag(self) -> int:
        """Offsets still to be read, for a group that starts at the earliest."""
        start = self.low if self.committed is None else max(self.committed, self.low)
        return max(self.high - start, 0)


def consumer_lag(
    settings: Settings,
    group_id: str,
    topics: Iterable[Topic] = (Topic.CLICKSTREAM,),
    timeout_s: float = REACH_TIMEOUT_S,
) -> list[PartitionLag]:
    """Return the lag of a consumer group on every partition of these topics.

    Goes by committed offsets and watermarks, which every broker has, the embedded one too. It
    joins no group, so it disturbs none.

    Raises:
        SettingsError: librdkafka refuses a property.
        BrokerError: the brokers cannot be reached, or a topic does not exist.
    """
    cluster = connect(settings.kafka, timeout_s)
    partitions: list[TopicPartition] = []
    for name in map(settings.kafka.topic, topics):
        if name not in cluster.replicas:
            raise missing_topic(name)
        partitions += [TopicPartition(name, n) for n in range(len(cluster.replicas[name]))]
    # One that reads committed records would wait for the end of a transaction with these offsets.
    unhindered = {**QUIET, "isolation.level": "read_uncommitted"}
    try:
        consumer = Consumer({**settings.kafka.consumer_config(group_id), **unhindered})
    except KafkaException as error:
        raise property_error(error) from None
    try:
        return [
            _lag(consumer, committed, timeout_s)
            for committed in _committed(consumer, partitions, timeout_s)
        ]
    except KafkaException as error:
        # Who may not know the group's coordinator is told so here; the call just takes its time.
        said = consumer.poll(0)
        reason = (said.error() if said is not None else None) or error.args[0]
        raise BrokerError(
            f"the brokers do not tell the lag of {group_id}: {told(reason)}"
        ) from error
    finally:
        consumer.close()


def _committed(
    consumer: Consumer, partitions: list[TopicPartition], timeout_s: float
) -> list[TopicPartition]:
    # A cluster's first group ever finds its coordinator still being made.
    def ask(left_s: float) -> list[TopicPartition]:
        found = consumer.committed(partitions, timeout=left_s)
        for place in found:
            if place.error is not None:
                raise KafkaException(place.error)
        return found

    return persist(ask, timeout_s)


def _lag(consumer: Consumer, committed: TopicPartition, timeout_s: float) -> PartitionLag:
    held = held_offsets(consumer, committed.topic, committed.partition, timeout_s)
    return PartitionLag(
        topic=committed.topic,
        partition=committed.partition,
        committed=committed.offset if committed.offset >= 0 else None,
        low=held.start,
        high=held.stop,
    )
