"""The Kafka clients of a worker: consumers, readers of whole topics, and the producer."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaException, Producer

from schemas.settings import Settings
from schemas.topics import Topic
from worker.client_errors import ErrorLog
from worker.kafka_connection import property_error
from worker.open_transactions import MARGIN_S
from worker.topic_reader import PartitionReader

_ClientT = TypeVar("_ClientT", Consumer, Producer)

# The dead-letter topic takes records larger than librdkafka lets a producer send by default.
_LARGEST_RECORD_BYTES = 16 * 1024 * 1024
# Brokers that are gone for longer stop the worker, before the group would throw it out.
_DELIVERY_TIMEOUT_MS = 120_000


_TRANSACTION_RETRY_MS = 10
"""A transaction right behind another one finds the first one's markers not all written yet, and is
put off for `retry.backoff.ms`: librdkafka's default of 100 makes most of a transaction's time."""


def make_member(settings: Settings) -> Consumer:
    """Return a consumer to be a member of the worker's group.

    Raises:
        SettingsError: librdkafka refuses a property.
    """
    instance = settings.worker.instance_id
    return make_consumer(settings, **({"group.instance.id": instance} if instance else {}))


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


def make_reader(
    settings: Settings, topic: Topic, wait_ms: int, *, await_transactions: bool = False
) -> PartitionReader:
    """Return a reader of a topic.

    A broker sits on a fetch at the end of a topic for `fetch.wait.max.ms`, and so long does it take
    to learn that this is the end, or to begin with another partition.

    Args:
        settings: all of them.
        topic: to read.
        wait_ms: that time, milliseconds.
        await_transactions: whether a partition with open transactions is not at its end.

    Raises:
        SettingsError: librdkafka refuses a property.
    """
    overrides: dict[str, str | int] = {"enable.partition.eof": "true", "fetch.wait.max.ms": wait_ms}
    reader = make_consumer(settings, **overrides)
    ends = (
        make_consumer(settings, **{"isolation.level": "read_uncommitted"})
        if await_transactions
        else None
    )
    longest_s = settings.worker.transaction_timeout_ms / 1000.0 + MARGIN_S
    return PartitionReader(reader, settings.kafka.topic(topic), ends, longest_s)


def make_reporting_producer(settings: Settings) -> Producer:
    """Return a producer that reports where each record went.

    Raises:
        SettingsError: librdkafka refuses a property.
    """
    return _client(Producer, settings.kafka.producer_config())


def make_producer(settings: Settings) -> Producer:
    """Return a producer for all that the worker publishes.

    Raises:
        SettingsError: librdkafka refuses a property.
    """
    config = {
        "message.max.bytes": _LARGEST_RECORD_BYTES,
        "message.timeout.ms": _DELIVERY_TIMEOUT_MS,
        "delivery.report.only.error": True,
        **settings.kafka.producer_config(),
    }
    return _client(Producer, config)


def transactional_id(settings: Settings) -> str:
    """Return a name for a worker's transactions: the same for every start of the same instance.

    A worker without an instance id gets another name at every call.
    """
    instance = settings.worker.instance_id or settings.kafka.consumer_properties.get(
        "group.instance.id"
    )
    return f"{settings.worker.group_id}-{instance or uuid.uuid4().hex}"


def make_transactional_producer(settings: Settings, name: str) -> Producer:
    """Return a producer for all that the worker publishes, by transactions.

    Args:
        settings: all of them.
        name: the `transactional_id`.

    Raises:
        SettingsError: librdkafka refuses a property.
    """
    timeout_ms = settings.worker.transaction_timeout_ms
    config = {
        "message.max.bytes": _LARGEST_RECORD_BYTES,
        "retry.backoff.ms": _TRANSACTION_RETRY_MS,
        "delivery.report.only.error": True,
        **settings.kafka.producer_config(),
        "message.timeout.ms": timeout_ms,
        "transactional.id": name,
        "transaction.timeout.ms": timeout_ms,
    }
    return _client(Producer, config)


def _client(kind: Callable[..., _ClientT], config: dict[str, Any]) -> _ClientT:
    """Return a client that logs through Python's logging."""
    log = logging.getLogger("librdkafka")
    try:
        return kind({"error_cb": ErrorLog(log), **config}, logger=log)
    except KafkaException as error:
        raise property_error(error) from None
