"""Whether the topics that a worker needs are there, and go together."""

from __future__ import annotations

import logging

from schemas.errors import BrokerError, SettingsError
from schemas.settings import Settings
from schemas.topics import Topic
from worker.kafka_connection import connect, missing_topic

_LOG = logging.getLogger(__name__)

_PRIVACY_TOPICS = (Topic.PRIVACY, Topic.PRIVACY_AUDIT)
_PARALLEL_TOPICS = (Topic.RECOMMENDATIONS, Topic.USER_STATE, Topic.DEAD_LETTERS)

_WITHOUT = {
    Topic.PRIVACY: "nobody can be erased, or withdraw consent, by a request there",
    Topic.PRIVACY_AUDIT: "privacy requests are carried out without audit records",
}


def check_topics(settings: Settings, *, shared: bool = False) -> dict[Topic, int]:
    """Return how many partitions the worker's topics have.

    Those for privacy may be missing, as in a deployment made before they were read: that is told.

    Args:
        settings: say where the brokers are and how the topics are called.
        shared: whether `item-transitions` is needed, too.

    Raises:
        BrokerError: one does not exist, or those that go in parallel with `clickstream` have
            another number of partitions.
        SettingsError: transactions are asked of the embedded broker.
    """
    cluster = connect(settings.kafka)
    if cluster.embedded and settings.worker.delivery == "exactly_once":
        raise SettingsError(
            "worker.delivery is exactly_once, and the embedded broker has no transactions; use "
            "at_least_once, or Apache Kafka (`innerloop broker kafka` starts one)"
        )
    replicas = cluster.replicas
    partitions = {}
    parallel = (*_PARALLEL_TOPICS, *((Topic.ITEM_TRANSITIONS,) if shared else ()))
    for topic in (Topic.CLICKSTREAM, Topic.CATALOG, *parallel):
        name = settings.kafka.topic(topic)
        if name not in replicas:
            raise missing_topic(name)
        partitions[topic] = len(replicas[name])
    expected = partitions[Topic.CLICKSTREAM]
    for topic in _PRIVACY_TOPICS:
        name = settings.kafka.topic(topic)
        if name in replicas:
            partitions[topic] = len(replicas[name])
        else:
            _LOG.warning(
                "topic %s does not exist: %s; `innerloop topics create` creates it, then start "
                "the workers again",
                name,
                _WITHOUT[topic],
            )
    for topic in (*parallel, *(topic for topic in _PRIVACY_TOPICS if topic in partitions)):
        if partitions[topic] != expected:
            raise BrokerError(
                f"topic {settings.kafka.topic(topic)} has {partitions[topic]} partitions and "
                f"{settings.kafka.topic(Topic.CLICKSTREAM)} has {expected}; a user's records share "
                "a partition number, so both must have as many"
            )
    return partitions
