"""Topics on the brokers: create, inspect."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import ConfigResource, NewTopic, ResourceType

from schemas.errors import BrokerError
from schemas.kafka_refusals import told
from schemas.settings import KafkaSettings, Settings
from schemas.topics import TOPIC_SPECS, Partitioning, Topic, TopicSpec
from worker.kafka_connection import REACH_TIMEOUT_S, Cluster, connect

_CREATE_TIMEOUT_S = 30.0
_RETRY_S = 0.1


@dataclass(frozen=True)
class TopicState:
    """A topic as it should be and as it is."""

    spec: TopicSpec
    name: str
    """With the prefix of the settings."""
    partitions: int
    """0 where the topic does not exist."""
    replication_factor: int
    config: dict[str, str]
    """Its values of the entries that `spec.config` names; empty on the embedded broker."""
    differences: tuple[str, ...]
    """What is not as the settings ask, in words; empty on the embedded broker."""
    embedded: bool = False
    """Whether it is on the embedded broker, where nothing but its existence can be asked for."""
    created: bool = False
    """Whether `create_topics` has just created it."""

    @property
    def exists(self) -> bool:
        """Whether the brokers have the topic."""
        return self.partitions > 0


def create_topics(
    settings: Settings,
    topics: Iterable[Topic] = tuple(TOPIC_SPECS),
    timeout_s: float = REACH_TIMEOUT_S,
) -> list[TopicState]:
    """Create the topics that do not exist, with the partitions, copies and policies they need.

    Topics that exist are never altered: what is different about them is reported. On the embedded
    broker topics come up with its own number of partitions and no policies.

    Raises:
        SettingsError: librdkafka refuses a property.
        BrokerError: the brokers cannot be reached, or refuse to create a topic.
    """
    wanted = list(topics)
    cluster = connect(settings.kafka, timeout_s)
    missing = [
        TOPIC_SPECS[topic]
        for topic in wanted
        if settings.kafka.topic(topic) not in cluster.replicas
    ]
    if cluster.embedded:
        created = _touch(cluster, settings, missing, timeout_s)
    else:
        created = _create(cluster, settings, missing)
        _wait_until_known(cluster, created, timeout_s)
    return inspect_topics(settings, wanted, timeout_s, created=created)


def create_compacted(
    kafka: KafkaSettings, partitions: Mapping[str, int], timeout_s: float = REACH_TIMEOUT_S
) -> None:
    """Create topics that only one part of innerloop knows of, where they do not exist; compacted.

    Args:
        kafka: brokers, properties and copies.
        partitions: full name -> number of partitions.
        timeout_s: how long the brokers get to answer each request, seconds.

    Raises:
        SettingsError: librdkafka refuses a property.
        BrokerError: the brokers cannot be reached, or refuse to create a topic.
    """
    cluster = connect(kafka, timeout_s)
    new = [
        NewTopic(
            name,
            num_partitions=number,
            replication_factor=kafka.replication_factor,
            config={"cleanup.policy": "compact"},
        )
        for name, number in partitions.items()
        if name not in cluster.replicas
    ]
    _create_new(cluster, kafka, new)
    _wait_until_known(cluster, frozenset(partitions), timeout_s)


def inspect_topics(
    settings: Settings,
    topics: Iterable[Topic] = tuple(TOPIC_SPECS),
    timeout_s: float = REACH_TIMEOUT_S,
    *,
    created: frozenset[str] = frozenset(),
) -> list[TopicState]:
    """Return the topics as they are on the brokers, missing ones too.

    Args:
        settings: say where the brokers are and what the topics should be like.
        topics: which.
        timeout_s: how long the brokers get to answer each request, seconds.
        created: names to be marked as just created.

    Raises:
        SettingsError: librdkafka refuses a property.
        BrokerError: the brokers cannot be reached, or do not say how a topic is configured.
    """
    cluster = connect(settings.kafka, timeout_s)
    specs = {settings.kafka.topic(topic): TOPIC_SPECS[topic] for topic in topics}
    existing = [name for name in specs if name in cluster.replicas]
    configs = {} if cluster.embedded else _describe_configs(cluster, existing, timeout_s)
    states = []
    for name, spec in specs.items():
        replicas = cluster.replicas.get(name, [])
        config = {key: configs.get(name, {}).get(key, "") for key in spec.config}
        comparable = bool(replicas) and not cluster.embedded
        states.append(
            TopicState(
                spec=spec,
                name=name,
                partitions=len(replicas),
                replication_factor=min(replicas, default=0),
                config=config if comparable else {},
                differences=(
                    _differences(settings.kafka, spec, replicas, config) if comparable else ()
                ),
                embedded=cluster.embedded,
                created=name in created,
            )
        )
    return states


def partition_count(kafka: KafkaSettings, spec: TopicSpec) -> int:
    """Return how many partitions a topic should have."""
    return 1 if spec.partitioning is Partitioning.SINGLE else kafka.partitions


def _touch(
    cluster: Cluster, settings: Settings, specs: list[TopicSpec], timeout_s: float
) -> frozenset[str]:
    # The mock cluster has no CreateTopics; asking for a topic's metadata brings it about.
    names = [settings.kafka.topic(spec.topic) for spec in specs]
    for name in names:
        try:
            cluster.client.list_topics(topic=name, timeout=timeout_s)
        except KafkaException as error:
            raise BrokerError(f"the embedded broker does not create {name}: {error}") from error
    return frozenset(names)


def _create(cluster: Cluster, settings: Settings, specs: list[TopicSpec]) -> frozenset[str]:
    return _create_new(
        cluster,
        settings.kafka,
        [
            NewTopic(
                settings.kafka.topic(spec.topic),
                num_partitions=partition_count(settings.kafka, spec),
                replication_factor=settings.kafka.replication_factor,
                config=spec.config,
            )
            for spec in specs
        ],
    )


def _create_new(cluster: Cluster, kafka: KafkaSettings, new: list[NewTopic]) -> frozenset[str]:
    if not new:
        return frozenset()
    futures: dict[str, Future[None]] = cluster.client.create_topics(
        new, operation_timeout=_CREATE_TIMEOUT_S, request_timeout=_CREATE_TIMEOUT_S
    )
    created = set()
    for name, future in futures.items():
        try:
            future.result()
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            if reason.code() != KafkaError.TOPIC_ALREADY_EXISTS:  # someone else was faster
                raise BrokerError(
                    f"the brokers refuse to create topic {name} (kafka.partitions = "
                    f"{kafka.partitions}, kafka.replication_factor = "
                    f"{kafka.replication_factor}): {told(reason)}"
                ) from error
        else:
            created.add(name)
    return frozenset(created)


def _wait_until_known(cluster: Cluster, names: frozenset[str], timeout_s: float) -> None:
    # The controller answers first; the brokers hear of a new topic a little later.
    deadline = time.monotonic() + timeout_s
    while not names <= cluster.client.list_topics(timeout=timeout_s).topics.keys():
        if time.monotonic() > deadline:
            raise BrokerError(f"the brokers created {', '.join(sorted(names))}, but do not show it")
        time.sleep(_RETRY_S)


def _describe_configs(
    cluster: Cluster, names: list[str], timeout_s: float
) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    futures = cluster.client.describe_configs(resources, request_timeout=timeout_s)
    configs = {}
    for resource, future in futures.items():
        try:
            entries = future.result()
        except KafkaException as error:
            raise BrokerError(
                f"the brokers do not tell the configuration of topic {resource.name}: "
                f"{told(error.args[0])}"
            ) from error
        configs[resource.name] = {key: entry.value for key, entry in entries.items()}
    return configs


def _differences(
    kafka: KafkaSettings, spec: TopicSpec, replicas: list[int], config: dict[str, str]
) -> tuple[str, ...]:
    found = []
    partitions = partition_count(kafka, spec)
    if len(replicas) != partitions:
        found.append(f"partitions is {len(replicas)}, should be {partitions}")
    if min(replicas) != kafka.replication_factor:
        found.append(f"replication is {min(replicas)}, should be {kafka.replication_factor}")
    for key, value in spec.config.items():
        if config[key] != value:
            found.append(f"{key} is {config[key] or 'not set'}, should be {value}")
    return tuple(found)
