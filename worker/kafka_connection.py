"""Reaching the brokers, and saying clearly why they cannot be reached."""

from __future__ import annotations

from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from schemas.errors import BrokerError, SettingsError
from schemas.kafka_refusals import ask_for_topics, is_refusal, told
from schemas.settings import KafkaSettings

REACH_TIMEOUT_S = 10.0
"""How long brokers get to answer before they count as unreachable, seconds."""

QUIET = {"log_level": 0}
"""Default for clients whose failures are raised: librdkafka then writes none to standard error."""


@dataclass(frozen=True)
class Cluster:
    """What the brokers said of themselves, and a client to ask them more."""

    client: AdminClient
    embedded: bool
    """Whether this is the embedded broker, which has no topic policies."""
    replicas: dict[str, list[int]]
    """Topic → number of copies of each of its partitions."""


def connect(kafka: KafkaSettings, timeout_s: float = REACH_TIMEOUT_S) -> Cluster:
    """Reach the brokers and ask what topics they have.

    Raises:
        SettingsError: librdkafka does not know a property, or refuses its value.
        BrokerError: nobody answers in time, or credentials or certificates are refused, which is
            told at once; the message names the address and the reason.
    """
    errors: list[KafkaError] = []
    config = {**QUIET, **kafka.client_config(), "error_cb": errors.append}
    try:
        client = AdminClient(config)
    except KafkaException as error:
        raise property_error(error) from None
    try:
        metadata = ask_for_topics(client, timeout_s, errors)
    except KafkaException as error:
        raise _unreachable(kafka, timeout_s, [*errors, error.args[0]]) from None
    replicas = {
        name: [len(partition.replicas) for partition in topic.partitions.values()]
        for name, topic in metadata.topics.items()
    }
    return Cluster(client, is_embedded(metadata.cluster_id), replicas)


def is_embedded(cluster_id: str | None) -> bool:
    """Whether the cluster of this id is an embedded broker, by the id that librdkafka gives it."""
    return (cluster_id or "").startswith("mockCluster")


def property_error(error: KafkaException) -> SettingsError:
    """Return what to raise when librdkafka refuses to make a client of its configuration."""
    return SettingsError(
        f"librdkafka refuses its configuration: {error.args[0].str()} [settings kafka.properties, "
        "kafka.consumer_properties; -X KEY=VALUE]"
    )


def missing_topic(name: str) -> BrokerError:
    """Return what to raise when the brokers show no topic of this name."""
    return BrokerError(
        f"topic {name} does not exist; run `innerloop topics create`. Where it does, these "
        "credentials may not see it: `innerloop topics acls` says who needs access to what"
    )


def _unreachable(kafka: KafkaSettings, timeout_s: float, errors: list[KafkaError]) -> BrokerError:
    address = kafka.client_config()["bootstrap.servers"]
    refusal = next(filter(is_refusal, errors), None)
    if refusal is not None:
        return BrokerError(f"the Kafka broker at {address} refuses: {told(refusal)}")
    telling = [e for e in errors if e.code() != KafkaError._ALL_BROKERS_DOWN]
    return BrokerError(
        f"no Kafka broker answers at {address} (setting kafka.bootstrap_servers, "
        f"--bootstrap-servers) within {timeout_s:g} s: {telling[0].str()}. "
        "`innerloop broker embedded` or `innerloop broker kafka` starts one; those that want TLS "
        "need security.protocol in kafka.properties."
    )
