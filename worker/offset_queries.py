"""Asking brokers for offsets, through what passes by itself.

A partition that was just made has no leader for a moment, and a leader that moves is not where the
client thinks; librdkafka hands such errors on to whoever asks for watermarks or times.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from schemas.errors import BrokerError
from schemas.kafka_refusals import told

_AnswerT = TypeVar("_AnswerT")

_RETRY_S = 0.1
_LONGEST_RETRY_S = 1.0

PASSING = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.REPLICA_NOT_AVAILABLE,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.KAFKA_STORAGE_ERROR,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.NOT_COORDINATOR,
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._UNKNOWN_PARTITION,
    }
)
"""Errors that Kafka's protocol calls retriable, and librdkafka's own of the same kind."""


def persist(ask: Callable[[float], _AnswerT], timeout_s: float) -> _AnswerT:
    """Ask until there is an answer, the error is one that stays, or the time is over.

    Args:
        ask: asks the brokers once, given the seconds that are left.
        timeout_s: for all attempts together.

    Raises:
        KafkaException: the last error.
    """
    deadline = time.monotonic() + timeout_s
    pause_s = _RETRY_S
    while True:
        try:
            return ask(max(_RETRY_S, deadline - time.monotonic()))
        except KafkaException as error:
            if error.args[0].code() not in PASSING or time.monotonic() + pause_s > deadline:
                raise
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_RETRY_S)


def held_offsets(consumer: Consumer, topic: str, partition: int, timeout_s: float) -> range:
    """Return the offsets that a partition holds: first kept, up to next produced.

    Raises:
        BrokerError: the brokers do not tell.
    """
    place = TopicPartition(topic, partition)

    def ask(left_s: float) -> range:
        return range(*consumer.get_watermark_offsets(place, timeout=left_s, cached=False))

    try:
        return persist(ask, timeout_s)
    except KafkaException as error:
        raise BrokerError(
            f"the brokers do not tell the offsets of {topic}-{partition}: {told(error.args[0])}"
        ) from error


def offsets_at(
    consumer: Consumer, topic: str, partitions: list[int], time_ms: int, timeout_s: float
) -> dict[int, int]:
    """Return by partition the first offset of a time or later, for those that have one.

    Raises:
        BrokerError: the brokers do not tell.
    """

    def ask(left_s: float) -> dict[int, int]:
        asked = [TopicPartition(topic, number, time_ms) for number in partitions]
        found = consumer.offsets_for_times(asked, timeout=left_s)
        for place in found:
            if place.error is not None:
                raise KafkaException(place.error)
        return {place.partition: place.offset for place in found if place.offset >= 0}

    try:
        return persist(ask, timeout_s)
    except KafkaException as error:
        raise BrokerError(
            f"the brokers do not tell the offsets of {topic} by time: {told(error.args[0])}"
        ) from error
