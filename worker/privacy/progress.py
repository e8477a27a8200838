"""How far the worker's group has carried requests out: offsets of `privacy` that it committed."""

from __future__ import annotations

import logging
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from schemas.errors import BrokerError

_LOG = logging.getLogger(__name__)

_TELL_TIMEOUT_S = 2.0
_FOR_NOW = frozenset(
    {
        KafkaError._TIMED_OUT,
        KafkaError._WAIT_COORD,
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError.UNSTABLE_OFFSET_COMMIT,  # a transaction with the offset is open
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)


def committed_by(consumer: Consumer, topic: str) -> Callable[[int], int | None]:
    """Return the function that asks what a consumer's group committed for a topic's partitions.

    It returns 0 where there is nothing, and None where that cannot be told for the moment.
    It raises BrokerError where it will not be told at all.
    """

    def committed(partition: int) -> int | None:
        asked = [TopicPartition(topic, partition)]
        try:
            found = consumer.committed(asked, timeout=_TELL_TIMEOUT_S)[0]
        except KafkaException as error:
            _refused(error.args[0])
            return None
        if found.error is not None:
            _refused(found.error)
            return None
        return max(0, int(found.offset))  # negative: none

    def _refused(error: KafkaError) -> None:
        if not error.retriable() and error.code() not in _FOR_NOW:
            raise BrokerError(f"the group's offsets of {topic} cannot be read: {error.str()}")
        _LOG.warning("the group's offsets of %s are not known yet: %s", topic, error.str())

    return committed
