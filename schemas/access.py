"""What each part of innerloop may do on the brokers, and no more: the only place that says so.

`innerloop topics acls` prints or creates these; docs/security.md has them as a table; the tests run
every part under them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from schemas.settings import Settings
from schemas.topics import TOPIC_SPECS, InsightsTopic, Topic

SUBSCRIBER_GROUP = "innerloop-subscriber"
"""What followers of a topic call their group, because clients want one; it is never joined."""


class Resource(enum.StrEnum):
    """What an operation is on, as kafka-acls.sh calls it."""

    TOPIC = "topic"
    GROUP = "group"
    TRANSACTIONS = "transactional-id"


class Operation(enum.StrEnum):
    """Kafka's operations, as kafka-acls.sh calls them. `READ` and `WRITE` imply `DESCRIBE`."""

    READ = "Read"
    WRITE = "Write"
    CREATE = "Create"
    DESCRIBE = "Describe"
    DESCRIBE_CONFIGS = "DescribeConfigs"


class Identity(enum.StrEnum):
    """Parts that should each have credentials of their own."""

    ADMIN = "admin"
    TRACKER = "tracker"
    LOADER = "loader"
    PRIVACY = "privacy"
    EXPORT = "export"
    WORKER = "worker"
    INSIGHTS = "insights"
    SUBSCRIBER = "subscriber"
    SINK = "sink"
    ROLLOUT = "rollout"
    OPERATOR = "operator"
    ANALYST = "analyst"


USED_BY: dict[Identity, str] = {
    Identity.ADMIN: "`innerloop topics create`, `list`, `lag`",
    Identity.TRACKER: "the tracker in a storefront, `innerloop collect`",
    Identity.LOADER: "`innerloop replay`, and what publishes the catalogue",
    Identity.PRIVACY: "`innerloop privacy erase`, `withdraw`, `grant`, `status`",
    Identity.EXPORT: "`innerloop privacy export`",
    Identity.WORKER: "`innerloop worker`",
    Identity.INSIGHTS: "`innerloop insights run`",
    Identity.SUBSCRIBER: "the subscriber client, `innerloop gateway`, `innerloop tail`",
    Identity.SINK: "`innerloop sink redis`",
    Identity.ROLLOUT: "`innerloop models`",
    Identity.OPERATOR: "`innerloop dlq`",
    Identity.ANALYST: "`innerloop train` from topics, `innerloop insights report`",
}
"""Who goes by an identity."""


@dataclass(frozen=True)
class Grant:
    """Operations on one resource."""

    resource: Resource
    name: str
    operations: tuple[Operation, ...]
    why: str
    prefixed: bool = False
    """Whether `name` is only how the names begin."""


def grants(settings: Settings, identity: Identity) -> tuple[Grant, ...]:
    """Return what an identity needs, with topics and groups called as the settings say.

    Args:
        settings: kafka.topic_prefix, and the sections' group_id.
        identity: whose.
    """
    return tuple(_GRANTS[identity](_Names(settings)))


class _Names:
    """Makes grants under the settings' names."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def topic(self, topic: Topic, why: str, *operations: Operation) -> Grant:
        return Grant(Resource.TOPIC, self.settings.kafka.topic(topic), operations, why)

    def read(self, topic: Topic, why: str) -> Grant:
        return self.topic(topic, why, Operation.READ)

    def write(self, topic: Topic, why: str) -> Grant:
        return self.topic(topic, why, Operation.WRITE)

    def group(self, name: str, why: str, operation: Operation = Operation.READ) -> Grant:
        return Grant(Resource.GROUP, name, (operation,), why)

    def unjoined(self) -> Grant:
        """Readers name the worker's group, whose coordinator librdkafka looks for."""
        group = self.settings.worker.group_id
        return self.group(group, "named by readers, not joined", Operation.DESCRIBE)

    def follower(self) -> Grant:
        """Followers name a group of their own, likewise."""
        return self.group(SUBSCRIBER_GROUP, "named by followers, not joined", Operation.DESCRIBE)


def _admin(names: _Names) -> Iterable[Grant]:
    settings = names.settings
    operations = (Operation.CREATE, Operation.DESCRIBE, Operation.DESCRIBE_CONFIGS)
    for topic in TOPIC_SPECS:
        yield names.topic(topic, "create and list", *operations)
    for group in (settings.worker.group_id, settings.insights.group_id, settings.sink.group_id):
        yield names.group(group, "lag", Operation.DESCRIBE)


def _tracker(names: _Names) -> Iterable[Grant]:
    yield names.write(Topic.CLICKSTREAM, "publish events")


def _loader(names: _Names) -> Iterable[Grant]:
    yield names.write(Topic.CATALOG, "publish items")
    yield names.write(Topic.CLICKSTREAM, "publish events")


def _privacy(names: _Names) -> Iterable[Grant]:
    yield names.write(Topic.PRIVACY, "publish requests")
    yield names.topic(Topic.CLICKSTREAM, "compare partitions", Operation.DESCRIBE)
    yield names.read(Topic.PRIVACY_AUDIT, "wait for it to be done")
    yield names.unjoined()


def _export(names: _Names) -> Iterable[Grant]:
    for topic in (
        Topic.CLICKSTREAM,
        Topic.RECOMMENDATIONS,
        Topic.USER_STATE,
        Topic.OUTCOMES,
        Topic.DEAD_LETTERS,
        Topic.PRIVACY,
    ):
        yield names.read(topic, "what is held of a user")
    users = f"{names.settings.kafka.topic_prefix}{InsightsTopic.USERS.value}"
    yield Grant(Resource.TOPIC, users, (Operation.READ,), "what is held of a user")
    yield names.unjoined()


def _worker(names: _Names) -> Iterable[Grant]:
    worker = names.settings.worker
    yield names.read(Topic.CLICKSTREAM, "the events")
    yield names.read(Topic.CATALOG, "the items")
    yield names.read(Topic.PRIVACY, "consent and erasure")
    yield names.write(Topic.PRIVACY_AUDIT, "what was done about requests")
    yield names.write(Topic.RECOMMENDATIONS, "the answers")
    why = "users' states, restored from here; its retention, for a warm restart"
    operations = (Operation.READ, Operation.WRITE, Operation.DESCRIBE_CONFIGS)
    yield names.topic(Topic.USER_STATE, why, *operations)
    why = "what the workers learned of items"
    yield names.topic(Topic.ITEM_TRANSITIONS, why, Operation.READ, Operation.WRITE)
    yield names.read(Topic.MODELS, "with worker.follow_models")
    yield names.write(Topic.DEAD_LETTERS, "unusable records")
    yield names.group(worker.group_id, "join it, commit offsets")
    yield names.read(Topic.TRENDING, "lists for users of whom little is known")
    yield names.follower()
    if worker.delivery == "exactly_once":
        name, why = f"{worker.group_id}-", "one transactional id a worker"
        yield Grant(Resource.TRANSACTIONS, name, (Operation.WRITE,), why, prefixed=True)


def _insights(names: _Names) -> Iterable[Grant]:
    settings = names.settings
    yield names.read(Topic.CLICKSTREAM, "the events")
    yield names.read(Topic.RECOMMENDATIONS, "the answers")
    yield names.read(Topic.PRIVACY, "consent and erasure")
    yield names.write(Topic.PRIVACY_AUDIT, "whom it removed")
    yield names.unjoined()
    yield names.write(Topic.OUTCOMES, "what they led to")
    yield names.write(Topic.TRENDING, "what is looked at")
    operations = (Operation.CREATE, Operation.READ, Operation.WRITE)
    for topic in InsightsTopic:
        name = f"{settings.kafka.topic_prefix}{topic.value}"
        yield Grant(Resource.TOPIC, name, operations, "its own tables")
    yield names.group(settings.insights.group_id, "join it, commit offsets")


def _subscriber(names: _Names) -> Iterable[Grant]:
    yield names.read(Topic.RECOMMENDATIONS, "the answers")
    yield names.read(Topic.CATALOG, "titles, in `innerloop tail`")
    yield names.follower()


def _sink(names: _Names) -> Iterable[Grant]:
    yield names.read(Topic.RECOMMENDATIONS, "the answers")
    yield names.group(names.settings.sink.group_id, "join it, commit offsets")


def _rollout(names: _Names) -> Iterable[Grant]:
    yield names.topic(Topic.MODELS, "plans", Operation.READ, Operation.WRITE)
    yield names.unjoined()


def _operator(names: _Names) -> Iterable[Grant]:
    operations = (Operation.READ, Operation.WRITE)
    yield names.topic(Topic.DEAD_LETTERS, "inspect; note what was put back", *operations)
    yield names.write(Topic.CLICKSTREAM, "put back")
    yield names.unjoined()


def _analyst(names: _Names) -> Iterable[Grant]:
    for topic in (Topic.CLICKSTREAM, Topic.CATALOG, Topic.RECOMMENDATIONS, Topic.OUTCOMES):
        yield names.read(topic, "history")
    yield names.read(Topic.PRIVACY, "whom to leave out")
    yield names.unjoined()


_GRANTS = {
    Identity.ADMIN: _admin,
    Identity.TRACKER: _tracker,
    Identity.LOADER: _loader,
    Identity.PRIVACY: _privacy,
    Identity.EXPORT: _export,
    Identity.WORKER: _worker,
    Identity.INSIGHTS: _insights,
    Identity.SUBSCRIBER: _subscriber,
    Identity.SINK: _sink,
    Identity.ROLLOUT: _rollout,
    Identity.OPERATOR: _operator,
    Identity.ANALYST: _analyst,
}
