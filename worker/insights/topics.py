"""The topics that the app reads and writes, as they are on the brokers."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from schemas.errors import BrokerError
from schemas.settings import Settings
from schemas.topics import InsightsTopic, Topic
from worker.kafka_admin import create_compacted
from worker.kafka_connection import connect, missing_topic

_LOG = logging.getLogger(__name__)

_WITHOUT = {
    Topic.PRIVACY: "users' requests there are not known",
    Topic.PRIVACY_AUDIT: "users are removed without audit records",
}
"""Topics that may be missing, and what is lost then."""


@dataclass(frozen=True)
class InsightsTopics:
    """Full names, and how many partitions the topics by user have."""

    clickstream: str
    recommendations: str
    outcomes: str
    trending: str
    users: str
    counts: str
    parts: str
    totals: str
    partitions: int
    has_privacy: bool = False
    """Whether there is the topic with privacy requests."""
    audit: str | None = None
    """The topic for audit records; None where there is none."""


def insights_topics(settings: Settings) -> InsightsTopics:
    """Return the topics, after a look at whether they fit together; create the four internal ones.

    Faust would create those while it joins its group, and where the group's leader has not heard of
    one by then, nobody gets its partition until the metadata are next asked for, minutes later.

    A user's events and recommendations must have the same partition number, for the tables are cut
    up like them.

    Raises:
        BrokerError: the brokers cannot be reached, a topic is missing, or the numbers of
            partitions differ.
        SettingsError: librdkafka refuses a property.
    """
    cluster = connect(settings.kafka)
    counts = {}
    for topic in (Topic.CLICKSTREAM, Topic.RECOMMENDATIONS, Topic.OUTCOMES, Topic.TRENDING):
        name = settings.kafka.topic(topic)
        if name not in cluster.replicas:
            raise missing_topic(name)
        counts[topic] = len(cluster.replicas[name])
    by_user = counts[Topic.CLICKSTREAM]
    for topic, loss in _WITHOUT.items():
        name = settings.kafka.topic(topic)
        if name in cluster.replicas:
            counts[topic] = len(cluster.replicas[name])
        else:
            _LOG.warning("topic %s does not exist, or may not be seen: %s", name, loss)
    for topic in counts.keys() - {Topic.CLICKSTREAM, Topic.TRENDING}:
        if counts[topic] != by_user:
            raise BrokerError(
                f"topic {settings.kafka.topic(topic)} has {counts[topic]} partitions and "
                f"{settings.kafka.topic(Topic.CLICKSTREAM)} has {by_user}; they must have the same "
                "number, so that a user's records share a partition"
            )
    prefix = settings.kafka.topic_prefix
    topics = InsightsTopics(
        clickstream=settings.kafka.topic(Topic.CLICKSTREAM),
        recommendations=settings.kafka.topic(Topic.RECOMMENDATIONS),
        outcomes=settings.kafka.topic(Topic.OUTCOMES),
        trending=settings.kafka.topic(Topic.TRENDING),
        users=f"{prefix}{InsightsTopic.USERS}",
        counts=f"{prefix}{InsightsTopic.COUNTS}",
        parts=f"{prefix}{InsightsTopic.PARTS}",
        totals=f"{prefix}{InsightsTopic.TOTALS}",
        partitions=by_user,
        has_privacy=Topic.PRIVACY in counts,
        audit=settings.kafka.topic(Topic.PRIVACY_AUDIT) if Topic.PRIVACY_AUDIT in counts else None,
    )
    create_compacted(
        settings.kafka,
        {topics.users: by_user, topics.counts: by_user, topics.parts: 1, topics.totals: 1},
    )
    return topics
