"""What the brokers say of topics and of the group, on which a snapshot of users depends."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

from confluent_kafka import ConsumerGroupState, KafkaException, TopicCollection, Uuid
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType, TopicDescription

from schemas.errors import BrokerError
from schemas.kafka_refusals import told
from schemas.settings import Settings
from worker.kafka_connection import QUIET, REACH_TIMEOUT_S

_ResultT = TypeVar("_ResultT")

_RETENTION = "delete.retention.ms"
_NO_ID = str(Uuid(0, 0))
"""What brokers say that know of no ids yet."""


@dataclass(frozen=True)
class TopicFacts:
    """Of some topics."""

    ids: dict[str, str]
    """Full name → id, which a topic that is deleted and made anew does not share."""
    tombstones_ms: int
    """How long a null value stays in the first of the topics at least, milliseconds."""


class BrokerFacts:
    """Asks the brokers.

    Args:
        settings: say where they are.
    """

    def __init__(self, settings: Settings) -> None:
        self._group = settings.worker.group_id
        self._config = {**QUIET, **settings.kafka.client_config()}
        self._made: AdminClient | None = None

    def topics(self, names: Sequence[str]) -> TopicFacts:
        """Return what there is to know of topics.

        Raises:
            BrokerError: the brokers do not tell, as the embedded one does not.
        """
        described = self._admin.describe_topics(
            TopicCollection(list(names)), request_timeout=REACH_TIMEOUT_S
        )
        ids = {name: _id(name, future) for name, future in described.items()}
        resource = ConfigResource(ResourceType.TOPIC, names[0])
        (future,) = self._admin.describe_configs(
            [resource], request_timeout=REACH_TIMEOUT_S
        ).values()
        config = _result(future, f"{_RETENTION} of topic {names[0]}")
        return TopicFacts(ids, int(config[_RETENTION].value))

    def assigned(self, member: str, topic: str) -> frozenset[int]:
        """Return the partitions of a topic that the group's coordinator has assigned to a member.

        While the group is rebalancing, they are none.

        Raises:
            BrokerError: the coordinator does not tell.
        """
        (future,) = self._admin.describe_consumer_groups(
            [self._group], request_timeout=REACH_TIMEOUT_S
        ).values()
        group = _result(future, f"the members of group {self._group}")
        if group.state is not ConsumerGroupState.STABLE:
            return frozenset()
        return frozenset(
            partition.partition
            for one in group.members
            if one.member_id == member
            for partition in one.assignment.topic_partitions
            if partition.topic == topic
        )

    @property
    def _admin(self) -> AdminClient:
        if self._made is None:
            self._made = AdminClient(self._config)
        return self._made


def _id(name: str, described: Future[TopicDescription]) -> str:
    topic_id = str(_result(described, f"the id of topic {name}").topic_id)
    if topic_id == _NO_ID:
        raise BrokerError(f"the brokers give topic {name} no id")
    return topic_id


def _result(future: Future[_ResultT], what: str) -> _ResultT:
    try:
        return future.result()
    except KafkaException as error:
        raise BrokerError(f"the brokers do not tell {what}: {told(error.args[0])}") from error
