"""The one place for configuration: a typed object from a TOML file, the environment and flags.

Later sources win: defaults, then the TOML file, then `INNERLOOP_…` environment variables
(sections joined by two underscores, `INNERLOOP_KAFKA__BOOTSTRAP_SERVERS`), then flags.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from schemas.errors import SettingsError
from schemas.topics import Topic

ENVIRONMENT_PREFIX = "INNERLOOP_"
CONFIG_FILE_VARIABLE = "INNERLOOP_CONFIG"
DEFAULT_CONFIG_FILE = Path("innerloop.toml")

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
    "partition.assignment.strategy": "cooperative-sticky",
}


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaSettings(_Section):
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
    properties: dict[str, str | int | float | bool] = Field(
        default_factory=dict,
        description="librdkafka properties for every client (SASL, TLS, …)",
    )
    consumer_properties: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="librdkafka properties for consumers only"
    )
    producer_properties: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="librdkafka properties for producers only"
    )

    def topic(self, topic: Topic) -> str:
        """Return the topic's full name."""
        return f"{self.topic_prefix}{topic.value}"

    def client_config(self) -> dict[str, Any]:
        """Return the librdkafka configuration of a plain client (the admin client)."""
        return {"bootstrap.servers": self.bootstrap_servers, **self.properties}

    def consumer_config(self, group_id: str, **overrides: str | int) -> dict[str, Any]:
        """Return the librdkafka configuration of a consumer in `group_id`."""
        return {
            **_CONSUMER_DEFAULTS,
            **self.client_config(),
            **self.consumer_properties,
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


class WireSettings(_Section):
    """How messages look on the wire."""

    format: Literal["json", "avro"] = Field(
        "json", description="json, or avro in Schema-Registry framing"
    )
    registry_url: str | None = Field(
        None, description="Schema Registry address; needed when format is avro"
    )
    registry_properties: dict[str, str | int | float | bool] = Field(
        default_factory=dict,
        description="properties of confluent-kafka's SchemaRegistryClient (credentials, TLS)",
    )
    auto_register: bool = Field(
        True, description="register schemas on first use; else they must be registered before"
    )


class WorkerSettings(_Section):
    """The streaming worker."""

    bundle: Path | None = Field(None, description="model bundle to serve (a folder)")
    group_id: str = Field("innerloop-worker", min_length=1, description="consumer group")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto takes cuda where there is one"
    )
    batch_events: int = Field(512, ge=1, le=65_536, description="most events in a micro-batch")
    batch_wait_ms: int = Field(
        20, ge=0, le=60_000, description="longest wait for a micro-batch to fill, milliseconds"
    )
    top_k: int = Field(20, ge=1, le=1000, description="items in a recommendation")
    recent_events: int = Field(
        32, ge=1, le=1024, description="latest events kept per user (duplicates, reasons)"
    )
    max_event_bytes: int = Field(
        65_536, ge=256, description="larger events go to the dead-letter topic, bytes"
    )
    max_future_seconds: int = Field(
        86_400, ge=0, description="events later than now plus this go to the dead-letter topic"
    )
    variant: str = Field("default", min_length=1, description="label on recommendations")
    threads: int | None = Field(None, ge=1, description="CPU threads; None leaves torch's default")


class TrainingSettings(_Section):
    """Meta-training."""

    dim: int = Field(96, ge=2, description="width of item vectors, session state and queries")
    rank: int = Field(8, ge=1, description="columns of the fast weight A")
    anchors: int = Field(256, ge=1, description="items against which the inner loop's softmax goes")
    epochs: int = Field(8, ge=1, description="most passes over the training events")
    patience: int = Field(2, ge=1, description="epochs without a better validation HR@20 to stop")
    batch_users: int = Field(128, ge=1, description="user streams in a training batch")
    longest_stream: int = Field(50, ge=2, description="events of a stream; longer ones are cut")
    negatives: int = Field(4096, ge=1, description="items drawn against each batch")
    sampling_power: float = Field(
        0.75, ge=0, le=1, description="items are drawn with probability (training count)^this"
    )
    learning_rate: float = Field(3e-3, gt=0, description="peak of the outer loop's step size")
    weight_decay: float = Field(1e-4, ge=0, description="AdamW's decoupled weight decay")
    id_dropout: float = Field(
        0.1, ge=0, lt=1, description="share of items that lose their id embedding in a batch"
    )
    validation_users: float = Field(
        0.05, gt=0, lt=1, description="share of the training users kept for early stopping"
    )


class MetricsSettings(_Section):
    """The Prometheus endpoint."""

    enabled: bool = Field(True, description="serve the endpoint")
    host: str = Field("127.0.0.1", description="address to bind")
    port: int = Field(9464, ge=0, le=65_535, description="port to bind; 0 takes a free one")


class PrivacySettings(_Section):
    """Pseudonymous ids."""

    user_id_key: SecretStr | None = Field(
        None, description="hash user ids with this key (HMAC-SHA-256) before publishing"
    )


class Settings(BaseSettings):
    """Every setting of innerloop, by section."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    kafka: KafkaSettings = KafkaSettings()
    wire: WireSettings = WireSettings()
    worker: WorkerSettings = WorkerSettings()
    training: TrainingSettings = TrainingSettings()
    metrics: MetricsSettings = MetricsSettings()
    privacy: PrivacySettings = PrivacySettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources, the strongest first: flags, environment, file."""
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls))


def load_settings(
    config_file: Path | None = None, flags: Mapping[str, Mapping[str, Any]] | None = None
) -> Settings:
    """Read the settings from file, environment and flags.

    Args:
        config_file: TOML file. None takes `INNERLOOP_CONFIG`, else `innerloop.toml` if it exists.
        flags: values given on the command line, by section; None among them means "not given".

    Raises:
        SettingsError: the file is missing or is no TOML, or a setting is unknown or wrong.
    """
    file = _find_config_file(config_file)
    given = {
        section: {name: value for name, value in values.items() if value is not None}
        for section, values in (flags or {}).items()
    }
    _refuse_unknown_variables()

    class FileSettings(Settings):
        model_config = SettingsConfigDict(toml_file=file)

    try:
        loaded = FileSettings(**given)  # type: ignore[arg-type]  # sections, checked by pydantic
    except ValidationError as error:
        raise SettingsError(_explain(error, file)) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file} is not valid TOML: {error}") from None
    return loaded


def _find_config_file(config_file: Path | None) -> Path | None:
    named = config_file or (
        Path(os.environ[CONFIG_FILE_VARIABLE]) if os.environ.get(CONFIG_FILE_VARIABLE) else None
    )
    if named is None:
        return DEFAULT_CONFIG_FILE if DEFAULT_CONFIG_FILE.is_file() else None
    if not named.is_file():
        raise SettingsError(f"the configuration file {named} does not exist")
    return named


def _refuse_unknown_variables() -> None:
    sections = tuple(Settings.model_fields)
    for name in os.environ:
        if not name.startswith(ENVIRONMENT_PREFIX) or name == CONFIG_FILE_VARIABLE:
            continue
        section = name.removeprefix(ENVIRONMENT_PREFIX).split("__")[0].lower()
        if section not in sections:
            known = ", ".join(f"{ENVIRONMENT_PREFIX}{s.upper()}__…" for s in sections)
            raise SettingsError(f"environment variable {name} names no section; use {known}")


def _explain(error: ValidationError, file: Path | None) -> str:
    lines = ["the configuration is wrong:"]
    for item in error.errors(include_url=False, include_context=False):
        path = [str(part) for part in item["loc"]]
        expected = _expectation(path)
        variable = ENVIRONMENT_PREFIX + "__".join(part.upper() for part in path)
        lines.append(
            f"  {'.'.join(path)}: {item['msg']} (got {_show(path, item['input'])})"
            + (f"; {expected}" if expected else "")
            + f" [flag, {variable}, or {file or DEFAULT_CONFIG_FILE}]"
        )
    return "\n".join(lines)


def _show(path: list[str], value: object) -> str:
    # A wrong value may be a credential; only the sections that hold none are echoed.
    secret = path[0] == "privacy" or any(part.endswith("properties") for part in path)
    return "a value not shown" if secret else repr(value)


def _expectation(path: list[str]) -> str:
    section = Settings.model_fields.get(path[0])
    if section is None:
        return "sections are " + ", ".join(Settings.model_fields)
    model = section.annotation
    if len(path) < 2 or not (isinstance(model, type) and issubclass(model, BaseModel)):
        return ""
    field = model.model_fields.get(path[1])
    if field is None:
        return f"settings of [{path[0]}] are " + ", ".join(model.model_fields)
    return f"expected: {field.description}" if field.description else ""
