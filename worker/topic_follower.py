"""Following topics without a group: from now, from a while ago, or from the beginning."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import TopicMetadata

from schemas.access import SUBSCRIBER_GROUP
from schemas.errors import BrokerError
from schemas.kafka_refusals import AUTHORIZATION, is_refusal, told
from schemas.settings import KafkaSettings
from schemas.topics import Topic
from worker.kafka_connection import (
    QUIET,
    connect,
    is_embedded,
    missing_topic,
    property_error,
)
from worker.offset_queries import held_offsets, offsets_at, persist

_LOG = logging.getLogger(__name__)

_TELL_TIMEOUT_S = 10.0


class TopicFollower:
    """Reads a topic's committed records as they come, those of partitions added later included.

    It joins no group and commits nothing, so it disturbs no one. For one thread.

    Args:
        kafka: brokers and properties.
        topic: to follow.
        since_ms: where to begin, by the records' timestamps, epoch milliseconds; 0 is the
            beginning, None is now: what is produced after the constructor has returned is read.
        refresh_s: how often to look for partitions that were added, seconds.

    Raises:
        BrokerError: the brokers do not answer, or do not have the topic.
        SettingsError: librdkafka refuses a property.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topic: Topic,
        since_ms: int | None = None,
        refresh_s: float = 60.0,
    ) -> None:
        self._topic = kafka.topic(topic)
        self._refresh_s = refresh_s
        self._refresh_at = time.monotonic() + refresh_s
        self._assigned: set[int] = set()
        self._behind: set[int] = set()
        self._timeless = False
        """Whether the brokers find no offsets by time: the embedded one does not."""
        connect(kafka)  # tells at once what is wrong with the brokers, or with the credentials
        config = {
            **QUIET,
            **kafka.consumer_config(SUBSCRIBER_GROUP, **{"enable.partition.eof": "true"}),
        }
        try:
            self._consumer = Consumer(config)
        except KafkaException as error:
            raise property_error(error) from None
        try:
            self._assign(self._begin(self._partitions(), since_ms))
        except BrokerError:
            self._consumer.close()
            raise

    @property
    def caught_up(self) -> bool:
        """Whether every partition was read to the end that it had."""
        return not self._behind

    def read(self, most: int, wait_s: float) -> list[Message]:
        """Return the records that are there, up to `most`; waits up to `wait_s` for the first.

        Raises:
            BrokerError: the brokers refuse to be read, for good.
        """
        self._look_for_partitions()
        # `consume` alone would wait for all that it may return.
        first = self._consumer.poll(wait_s)
        if first is None:
            return []
        found = [first, *self._consumer.consume(most - 1, 0)] if most > 1 else [first]
        return [message for message in found if self._is_record(message)]

    def close(self) -> None:
        """Close the consumer."""
        self._consumer.close()

    def _is_record(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return True
        if error.code() == KafkaError._PARTITION_EOF:
            self._behind.discard(message.partition() or 0)
        elif error.fatal() or is_refusal(error):
            raise BrokerError(f"{self._topic} cannot be read: {told(error)}")
        else:
            _LOG.warning("reading %s: %s", self._topic, error.str())
        return False

    def _partitions(self) -> set[int]:
        try:
            found = persist(self._topic_metadata, _TELL_TIMEOUT_S)
        except KafkaException as error:
            raise BrokerError(
                "no Kafka broker answers (setting kafka.bootstrap_servers, --bootstrap-servers): "
                f"{told(error.args[0])}"
            ) from error
        if found.error is not None and found.error.code() in AUTHORIZATION:
            raise BrokerError(f"{self._topic} cannot be read: {told(found.error)}")
        if found.error is not None or not found.partitions:
            raise missing_topic(self._topic)
        return set(found.partitions)

    def _topic_metadata(self, left_s: float) -> TopicMetadata:
        answer = self._consumer.list_topics(self._topic, timeout=left_s)
        self._timeless = is_embedded(answer.cluster_id)
        found: TopicMetadata = answer.topics[self._topic]
        if found.error is not None and found.error.code() == KafkaError.LEADER_NOT_AVAILABLE:
            raise KafkaException(found.error)  # it is just being made
        return found

    def _begin(self, numbers: Iterable[int], since_ms: int | None) -> dict[int, int]:
        """Return by partition the offset to begin at."""
        partitions = sorted(numbers)
        if since_ms == 0 or (since_ms is not None and self._timeless):
            return dict.fromkeys(partitions, 0)
        # Asked for now: librdkafka finds out what "the end" is at its first fetch.
        ends = {
            number: held_offsets(self._consumer, self._topic, number, _TELL_TIMEOUT_S).stop
            for number in partitions
        }
        if since_ms is None:
            return ends
        # Where nothing is as new as that, it is the end.
        by_time = offsets_at(self._consumer, self._topic, partitions, since_ms, _TELL_TIMEOUT_S)
        return ends | by_time

    def _assign(self, offsets: Mapping[int, int]) -> None:
        self._consumer.incremental_assign(
            [TopicPartition(self._topic, number, offset) for number, offset in offsets.items()]
        )
        self._assigned |= offsets.keys()
        self._behind |= offsets.keys()

    def _look_for_partitions(self) -> None:
        if time.monotonic() < self._refresh_at:
            return
        try:
            added = self._partitions() - self._assigned
            if added:
                self._assign(self._begin(added, 0))
        except (BrokerError, KafkaException) as error:
            # Nothing that was read so far depends on it: it is tried again.
            _LOG.warning("looking for partitions of %s: %s", self._topic, error)
        self._refresh_at = time.monotonic() + self._refresh_s
