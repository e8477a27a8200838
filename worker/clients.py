"""The Kafka clients of a worker: consumers, readers of whole topics, and the producer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaException, Producer

from schemas.settings import Settings
from schemas.topics import Topic
from worker.kafka_connection import property_error
from worker.topic_reader import PartitionReader

_ClientT = TypeVar("_ClientT", Consumer, Producer)

# The dead-letter topic takes records larger than librdkafka lets a producer send by default.
_LARGEST_RECORD_BYTES = 16 * 1024 * 1024
# Brokers that are gone for longer stop the worker, before the group would throw it out.
_DELIVERY_TIMEOUT_MS = 120_000


def make_consumer(settings: Settings, **overrides: str | int) -> Consumer:
    """Return a consumer of the worker's group; it has joined nothing yet.

    Args:
        settings: all of them.
        overrides: librdkafka properties.

    Raises:
        SettingsError: librdkafka refuses a property.
    """
    config = settings.kafka.consumer_config(settings.worker.group_id, **overrides)
    return _client(Consumer, config)


def make_reader(settings: Settings, topic: Topic, wait_ms: int) -> PartitionReader:
    """Return a reader of a topic.

    A broker sits on a fetch at the end of a topic for `fetch.wait.max.ms`, and so long does it take
    to learn that this is the end, or to begin with another partition.

    Args:
        settings: all of them.
        topic: to read.
        wait_ms: that time, milliseconds.

    Raises:
        SettingsError: librdkafka refuses a property.
    """
    overrides: dict[str, str | int] = {"enable.partition.eof": "true", "fetch.wait.max.ms": wait_ms}
    return PartitionReader(make_consumer(settings, **overrides), settings.kafka.topic(topic))


def make_producer(settings: Settings) -> Producer:
    """Return a producer for all that the worker publishes.

    Raises:
        SettingsError: librdkafka refuses a property.
    """
    config = {
        "message.max.bytes": _LARGEST_RECORD_BYTES,
        "message.timeout.ms": _DELIVERY_TIMEOUT_MS,
        **settings.kafka.producer_config(),
    }
    return _client(Producer, config)


def _client(kind: Callable[..., _ClientT], config: dict[str, Any]) -> _ClientT:
    """Return a client that logs through Python's logging."""
    try:
        return kind(config, logger=logging.getLogger("librdkafka"))
    except KafkaException as error:
        raise property_error(error) from None
