from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import ConfigResource, NewTopic, ResourceType

from schemas.errors import BrokerError, SettingsError
from schemas.settings import Settings
from schemas.topics import TOPIC_SPECS, Partitioning, Topic
from worker.broker.embedded import PARTITIONS
from worker.broker.readiness import free_port
from worker.kafka_admin import consumer_lag, create_topics, inspect_topics
from worker.kafka_connection import connect


def with_kafka(settings: Settings, **changes: Any) -> Settings:
    return settings.model_copy(update={"kafka": settings.kafka.model_copy(update=changes)})


def described(settings: Settings, topic: Topic) -> dict[str, str]:
    resource = ConfigResource(ResourceType.TOPIC, settings.kafka.topic(topic))
    client = connect(settings.kafka).client
    entries = client.describe_configs([resource])[resource].result()
    return {name: entry.value for name, entry in entries.items()}


def test_every_topic_gets_its_partitions_and_policies(kafka_settings: Settings) -> None:
    states = create_topics(kafka_settings)

    assert [state.spec.topic for state in states] == list(TOPIC_SPECS)
    assert all(state.created and state.exists for state in states)
    assert not any(state.differences for state in states)
    replicas = connect(kafka_settings.kafka).replicas
    for topic, spec in TOPIC_SPECS.items():
        expected = 1 if spec.partitioning is Partitioning.SINGLE else 3
        assert replicas[kafka_settings.kafka.topic(topic)] == [1] * expected
        assert spec.config.items() <= described(kafka_settings, topic).items()
    # Spelled out once, so that a policy lost from the table is noticed.
    assert described(kafka_settings, Topic.USER_STATE)["cleanup.policy"] == "compact"
    assert described(kafka_settings, Topic.CLICKSTREAM)["retention.ms"] == "604800000"
    assert described(kafka_settings, Topic.CLICKSTREAM)["cleanup.policy"] == "delete"
    assert described(kafka_settings, Topic.DEAD_LETTERS)["max.message.bytes"] == "10485760"


def test_creating_again_changes_nothing(broker_settings: Settings, produce_all) -> None:
    first = create_topics(broker_settings)
    produce_all(broker_settings, Topic.CATALOG, [("i1", "{}")])

    second = create_topics(broker_settings)

    assert all(state.created for state in first)
    assert second == [replace(state, created=False) for state in first]
    assert sum(e.high for e in consumer_lag(broker_settings, "g", [Topic.CATALOG])) == 1


def test_differences_are_reported_and_left_alone(kafka_settings: Settings) -> None:
    wrong = NewTopic(
        kafka_settings.kafka.topic(Topic.USER_STATE),
        num_partitions=5,
        replication_factor=1,
        config={"cleanup.policy": "delete"},
    )
    cluster = connect(kafka_settings.kafka)
    for future in cluster.client.create_topics([wrong]).values():
        future.result()

    states = {state.spec.topic: state for state in create_topics(kafka_settings)}

    assert states[Topic.USER_STATE].differences == (
        "partitions is 5, should be 3",
        "cleanup.policy is delete, should be compact",
    )
    assert not states[Topic.USER_STATE].created
    others = [state for topic, state in states.items() if topic is not Topic.USER_STATE]
    assert all(state.created and not state.differences for state in others)
    assert described(kafka_settings, Topic.USER_STATE)["cleanup.policy"] == "delete"
    assert len(connect(kafka_settings.kafka).replicas[wrong.topic]) == 5


def test_missing_topics_are_listed_and_not_created(broker_settings: Settings) -> None:
    states = inspect_topics(broker_settings)

    assert [state.exists for state in states] == [False] * len(TOPIC_SPECS)
    names = set(connect(broker_settings.kafka).replicas)
    assert not any(name.startswith(broker_settings.kafka.topic_prefix) for name in names)


def test_the_embedded_broker_says_that_it_has_no_policies(embedded_settings: Settings) -> None:
    states = create_topics(embedded_settings)

    assert all(state.embedded and state.created and not state.config for state in states)
    assert [state.partitions for state in states] == [PARTITIONS] * len(TOPIC_SPECS)
    assert not any(state.differences for state in states)


def test_a_refusal_names_topic_and_setting(kafka_settings: Settings) -> None:
    settings = with_kafka(kafka_settings, replication_factor=9)
    name = settings.kafka.topic(Topic.CLICKSTREAM)
    with pytest.raises(BrokerError, match=rf"{name}.*kafka\.replication_factor = 9") as caught:
        create_topics(settings, [Topic.CLICKSTREAM])
    assert "broker" in str(caught.value).lower()


def test_lag_follows_the_commits(broker_settings: Settings, produce_all) -> None:
    create_topics(broker_settings, [Topic.CLICKSTREAM])
    group = broker_settings.worker.group_id
    produce_all(broker_settings, Topic.CLICKSTREAM, [(f"u{n}", f"{n}") for n in range(100)])

    before = consumer_lag(broker_settings, group)
    assert sum(entry.lag for entry in before) == 100, "a group that never read starts at the first"
    assert all(entry.committed is None and entry.low == 0 for entry in before)

    full = max(before, key=lambda entry: entry.high)
    assert full.high > 10
    commit(broker_settings, group, full.partition, full.high - 10)

    after = {entry.partition: entry for entry in consumer_lag(broker_settings, group)}
    assert after[full.partition].committed == full.high - 10
    assert after[full.partition].lag == 10
    assert sum(entry.lag for entry in after.values()) == 100 - full.high + 10

    commit(broker_settings, group, full.partition, full.high)
    produce_all(broker_settings, Topic.CLICKSTREAM, [("u0", "more")])
    assert sum(entry.lag for entry in consumer_lag(broker_settings, group)) == 101 - full.high


def commit(settings: Settings, group: str, partition: int, offset: int) -> None:
    consumer = Consumer(settings.kafka.consumer_config(group))
    name = settings.kafka.topic(Topic.CLICKSTREAM)
    consumer.commit(offsets=[TopicPartition(name, partition, offset)], asynchronous=False)
    consumer.close()


def test_lag_counts_only_what_the_broker_still_has(
    embedded_settings: Settings, produce_all
) -> None:
    create_topics(embedded_settings, [Topic.CLICKSTREAM])
    group = embedded_settings.worker.group_id
    # More than a partition of the embedded broker keeps; `none` so that a byte is a byte.
    incompressible = with_kafka(embedded_settings, producer_properties={"compression.type": "none"})
    values = (("one-user", bytes(10_000)) for _ in range(1200))
    produce_all(incompressible, Topic.CLICKSTREAM, values)

    full = max(consumer_lag(embedded_settings, group), key=lambda entry: entry.high)
    assert full.high == 1200
    assert 0 < full.low < full.high
    commit(embedded_settings, group, full.partition, 1)
    behind = max(consumer_lag(embedded_settings, group), key=lambda entry: entry.high)
    assert behind.committed == 1
    assert behind.lag == full.high - full.low
    kept_mb = behind.lag * 10_000 / 1e6
    assert 3.5 < kept_mb < 5.3, "what the embedded broker's module says it keeps"


def test_lag_of_a_topic_that_does_not_exist(broker_settings: Settings) -> None:
    name = broker_settings.kafka.topic(Topic.CLICKSTREAM)
    with pytest.raises(BrokerError, match=rf"{name} does not exist.*innerloop topics create"):
        consumer_lag(broker_settings, "g")


@pytest.mark.parametrize("ask", [create_topics, inspect_topics])
def test_an_unreachable_broker_is_named(ask: Any) -> None:
    address = f"127.0.0.1:{free_port()}"
    settings = Settings.model_validate({"kafka": {"bootstrap_servers": address}})
    with pytest.raises(BrokerError) as caught:
        ask(settings, timeout_s=3.0)  # long enough to be refused
    message = str(caught.value)
    assert address in message
    assert "kafka.bootstrap_servers" in message
    assert "Connection refused" in message
    assert "innerloop broker embedded" in message


@pytest.mark.parametrize(
    ("properties", "told"),
    [
        ({"no.such.property": "1"}, "no.such.property"),
        ({"security.protocol": "carrier-pigeon"}, "security.protocol"),
    ],
)
def test_a_wrong_librdkafka_property_is_named(properties: dict[str, str], told: str) -> None:
    settings = Settings.model_validate({"kafka": {"properties": properties}})
    with pytest.raises(SettingsError, match=told):
        create_topics(settings, timeout_s=0.5)
