"""Settings of the Kafka clients, and of how messages look on the wire."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from schemas.settings.section import Properties, Section
from schemas.topics import Topic

# `murmur2_random` is the Java client's default partitioner: with it a user's events land on the
# same partition whichever client, Java or Python, publishes them.
_PRODUCER_DEFAULTS = {
    "partitioner": "murmur2_random",
    "enable.idempotence": "true",
    "compression.type": "lz4",
    "linger.ms": "5",
}
_CONSUMER_DEFAULTS = {
    "enable.auto.commit": "false",
    "enable.auto.offset.store": "false",
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
}
# Of the classic group protocol; with `group.protocol=consumer` the brokers assign.
_ASSIGNMENT = {"partition.assignment.strategy": "cooperative-sticky"}

# What innerloop itself decides, and the setting to change instead.
MANAGED_PROPERTIES = {
    "bootstrap.servers": "use kafka.bootstrap_servers",
    "metadata.broker.list": "use kafka.bootstrap_servers",
    "group.id": "use worker.group_id",
    "enable.auto.commit": "offsets are committed once results are acknowledged",
    "enable.auto.offset.store": "offsets are committed once results are acknowledged",
    "isolation.level": "records of transactions that were aborted are never read",
    "transactional.id": "use worker.delivery and worker.instance_id",
    "transaction.timeout.ms": "use worker.transaction_timeout_ms",
}


class KafkaSettings(Section):
    """How to reach the brokers."""

    bootstrap_servers: str = Field(
        "127.0.0.1:9092", min_length=1, description="host:port of one or more brokers, by comma"
    )
    topic_prefix: str = Field(
        "", pattern=r"^[A-Za-z0-9._-]*$", description="put before every topic's name"
    )
    partitions: int = Field(
        8, ge=1, le=10_000, description="partitions of the topics keyed by user"
    )
    replication_factor: int = Field(1, ge=1, le=10, description="copies of each partition")
    properties: Properties = Field(
        default_factory=dict,
        repr=False,
        description="librdkafka properties for every client (SASL, TLS, …)",
    )
    consumer_properties: Properties = Field(
        default_factory=dict, repr=False, description="librdkafka properties for consumers only"
    )
    producer_properties: Properties = Field(
        default_factory=dict, repr=False, description="librdkafka properties for producers only"
    )

    @field_validator("properties", "consumer_properties", "producer_properties")
    @classmethod
    def _leave_to_innerloop(cls, properties: Properties) -> Properties:
        for name in properties:
            if name in MANAGED_PROPERTIES:
                raise ValueError(f"{name} cannot be set here: {MANAGED_PROPERTIES[name]}")
        return properties

    def topic(self, topic: Topic) -> str:
        """Return the topic's full name."""
        return f"{self.topic_prefix}{topic.value}"

    def client_config(self) -> dict[str, Any]:
        """Return the librdkafka configuration of a plain client (the admin client)."""
        return {"bootstrap.servers": self.bootstrap_servers, **self.properties}

    def consumer_config(self, group_id: str, **overrides: str | int) -> dict[str, Any]:
        """Return the librdkafka configuration of a consumer in `group_id`."""
        given = {**self.client_config(), **self.consumer_properties}
        classic = given.get("group.protocol", "classic") == "classic"
        return {
            **_CONSUMER_DEFAULTS,
            **(_ASSIGNMENT if classic else {}),
            **given,
            "group.id": group_id,
            **overrides,
        }

    def producer_config(self, **overrides: str | int) -> dict[str, Any]:
        """Return the librdkafka configuration of a producer: idempotent, Java's partitioner."""
        return {
            **_PRODUCER_DEFAULTS,
            **self.client_config(),
            **self.producer_properties,
            **overrides,
        }


class WireSettings(Section):
    """How messages look on the wire."""

    format: Literal["json", "avro"] = Field(
        "json", description="json, or avro in Schema-Registry framing"
    )
    registry_url: str | None = Field(
        None,
        repr=False,
        validate_default=True,
        description="Schema Registry address, such as http://127.0.0.1:8081; needed for avro",
    )
    registry_properties: Properties = Field(
        default_factory=dict,
        repr=False,
        description="properties of confluent-kafka's SchemaRegistryClient (credentials, TLS)",
    )
    auto_register: bool = Field(
        True, description="register schemas on first use; else they must be registered before"
    )

    @field_validator("registry_url")
    @classmethod
    def _needed_for_avro(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is None and info.data.get("format") == "avro":
            raise ValueError("is needed where wire.format is avro")
        if url is not None and not url.startswith(("http://", "https://", "mock://")):
            raise ValueError("should start with http:// or https://")
        return url
