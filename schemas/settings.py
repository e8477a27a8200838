"""The one place for configuration: a typed object from a TOML file, the environment and flags.

Later sources win: defaults, then the TOML file, then `INNERLOOP_…` environment variables
(sections joined by two underscores, `INNERLOOP_KAFKA__BOOTSTRAP_SERVERS`), then flags. Properties
of a client library, such as librdkafka's, are merged one by one, and in the environment an
underscore stands for their dots: `INNERLOOP_KAFKA__PROPERTIES__SASL_PASSWORD`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from schemas.errors import SettingsError
from schemas.settings_errors import explain
from schemas.settings_sources import (
    ENVIRONMENT_PREFIX,
    check_environment,
    find_config_file,
    flat_content,
    flat_properties,
    read_toml,
)
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

Properties = Annotated[dict[str, str | int | float | bool], BeforeValidator(flat_properties)]
"""A client library's own properties. They may hold credentials, so `repr` leaves them out."""


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


class WireSettings(_Section):
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


class WorkerSettings(_Section):
    """The streaming worker."""

    bundle: Path | None = Field(None, description="model bundle to serve (a folder)")
    group_id: str = Field("innerloop-worker", min_length=1, description="consumer group")
    instance_id: str | None = Field(
        None,
        min_length=1,
        description="of this worker among those of its group, the same at every start: one that "
        "was restarted gets its partitions back without a rebalance (static membership)",
    )
    delivery: Literal["at_least_once", "exactly_once"] = Field(
        "at_least_once",
        description="exactly_once makes results, users' states and offsets one transaction",
    )
    transaction_ms: int = Field(
        100,
        ge=0,
        le=60_000,
        description="with exactly_once: how long a transaction takes up further micro-batches "
        "while more records are waiting, milliseconds; 0 commits each micro-batch",
    )
    transaction_timeout_ms: int = Field(
        60_000,
        ge=1000,
        le=900_000,
        description="with exactly_once: the brokers abort a transaction that takes longer, "
        "milliseconds; so long may the next owner wait for what a killed worker left open",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="auto takes cuda where there is one"
    )
    batch_events: int = Field(512, ge=1, le=65_536, description="most events in a micro-batch")
    batch_wait_ms: int = Field(
        0,
        ge=0,
        le=60_000,
        description="longest wait for a micro-batch to fill once it has a record, milliseconds; 0 "
        "takes what is there, which under load is what came while the last one was processed",
    )
    latency_target_ms: float = Field(
        50.0,
        gt=0,
        description="time from an event's arrival to its recommendation that micro-batches are "
        "kept small for, milliseconds; where more events wait than that, they are large",
    )
    top_k: int = Field(20, ge=1, le=1000, description="items in a recommendation")
    recent_events: int = Field(
        32, ge=1, le=1024, description="latest events kept per user (duplicates, reasons)"
    )
    resident_users: int | None = Field(
        None,
        ge=1,
        description="most users held ready on the device; those away longest make room and come "
        "back from the state folder, or memory. Without it, all who had an event",
    )
    state_folder: Path | None = Field(
        None,
        description="folder for the users not held ready, one of each worker's own; without it "
        "they are kept in memory",
    )
    warm_restart: bool = Field(
        True,
        description="with a state folder: keep all users there at a stop, and at the next start "
        "read only what has changed since; otherwise it is empty while the worker is stopped",
    )
    user_ttl_days: float | None = Field(
        None,
        gt=0,
        description="forget users without an event for longer, by the events' own time, days; "
        "without it nobody is forgotten",
    )
    max_event_bytes: int = Field(
        65_536, ge=256, description="larger events go to the dead-letter topic, bytes"
    )
    dead_letter_window: int = Field(
        1000, ge=1, description="latest records over which dead_letter_ratio goes"
    )
    dead_letter_ratio: float = Field(
        0.5,
        gt=0,
        le=1,
        description="share of the latest records that may be unusable; more stop the worker, "
        "and 1 never does",
    )
    dead_letter_consecutive: int = Field(
        500, ge=1, description="so many unusable records in a row in one partition stop the worker"
    )
    max_future_seconds: int = Field(
        86_400, ge=0, description="events later than now plus this go to the dead-letter topic"
    )
    catalog_wait_seconds: float = Field(
        120,
        ge=0,
        description="longest that events wait for the catalog topic to be read to its end, seconds",
    )
    item_memory: bool = Field(
        True,
        description="learn about items from the stream, and share it with the other workers, where "
        "the bundle has an item memory",
    )
    item_memory_events: int = Field(
        1_000_000,
        ge=64,
        description="offsets of clickstream, in each partition, whose transitions are kept in "
        "item-transitions; the same for all workers",
    )
    follow_models: bool = Field(
        False,
        description="serve what the topic `models` says (innerloop models), starting with bundle",
    )
    variant: str = Field("default", min_length=1, description="label on recommendations")
    threads: int | None = Field(None, ge=1, description="CPU threads; without it, torch's default")

    @property
    def user_ttl_ms(self) -> int | None:
        """`user_ttl_days` in milliseconds."""
        return None if self.user_ttl_days is None else round(self.user_ttl_days * 86_400_000)


class TrainingSettings(_Section):
    """Meta-training."""

    dim: int = Field(96, ge=2, description="width of item vectors, session state and queries")
    rank: int = Field(8, ge=1, description="columns of the fast weight A")
    anchors: int = Field(256, ge=1, description="items against which the inner loop's softmax goes")
    epochs: int = Field(8, ge=1, description="most epochs: passes over the training events")
    epoch_events: int = Field(
        0,
        ge=0,
        description="end an epoch, and validate, after about so many events, the next one going on "
        "with others; 0 takes all",
    )
    patience: int = Field(2, ge=1, description="epochs without a better validation HR@20 to stop")
    batch_users: int = Field(
        128,
        ge=1,
        description="most user streams in a training batch; where they are few, so are those of a "
        "batch, down to 8, for an epoch to have some 64 batches",
    )
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
    inner_steps: int = Field(1, ge=1, le=16, description="inner-loop gradient steps on an event")
    type_steps: bool = Field(
        False, description="learn a factor on the inner loop's step sizes for each event type"
    )
    timed_forgetting: bool = Field(
        False, description="let the fast weights' decay depend on the time since the last event"
    )
    inner_temperature: bool = Field(
        False, description="learn a temperature of the inner loop's softmax"
    )
    first_order: bool = Field(
        False, description="leave the second derivatives out of the meta-gradient"
    )
    meta_weight: float = Field(
        1.0,
        ge=0,
        le=1,
        description="weight α of the loss after adaptation; 1 − α is that of the loss without it",
    )
    crop: float = Field(0, ge=0, le=1, description="share of streams cut to a random part")
    mask: float = Field(0, ge=0, lt=1, description="share of events whose item is hidden")
    noise: float = Field(
        0, ge=0, description="Gaussian noise on item vectors, in multiples of their spread"
    )
    dropout: float = Field(0, ge=0, lt=1, description="dropout on the item vectors of events")
    adversarial: float = Field(
        0, ge=0, description="adversarial shift of item vectors, in multiples of their length"
    )
    type_weight: float = Field(0, ge=0, description="weight of predicting the next event's type")
    category_weight: float = Field(
        0, ge=0, description="weight of predicting the next item's category"
    )
    purchase_weight: float = Field(
        0, ge=0, description="weight of predicting a purchase later in the session"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of meta-training; bfloat16 is mixed precision"
    )
    memory: bool = Field(True, description="give the model an item memory, and mix it in")
    memory_neighbours: int = Field(
        64, ge=1, description="most followers, and most predecessors, kept of an item"
    )
    validation_users: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="share of the training users kept for early stopping and for fitting the mix",
    )
    validation_events: int = Field(
        50_000, ge=1, description="keep fewer of these users if they have more events than this"
    )
    refit: bool = Field(
        True, description="train once more, on all users, for as many epochs as were best"
    )


class TuningSettings(_Section):
    """Tuning the text encoder (`innerloop tune-encoder`)."""

    rank: int = Field(8, ge=1, description="rank of LoRA's updates of the weight matrices")
    alpha: float = Field(16.0, gt=0, description="LoRA's updates are scaled by alpha / rank")
    steps: int = Field(300, ge=1, description="gradient steps")
    batch_pairs: int = Field(
        64, ge=2, description="pairs of texts in a batch; its other texts are the negatives"
    )
    learning_rate: float = Field(5e-4, gt=0, description="peak of the step size")
    temperature: float = Field(0.05, gt=0, description="what cosines are divided by in the softmax")
    window: int = Field(
        3, ge=1, description="events of the same user within which two items make a pair"
    )
    max_tokens: int = Field(
        32, ge=8, description="longer texts are cut to so many tokens while tuning"
    )
    popularity_correction: bool = Field(
        True, description="correct the softmax for how often a text is among the negatives (logQ)"
    )
    held_out_texts: float = Field(
        0.1, gt=0, lt=1, description="share of the texts kept out, to measure before and after on"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of the tuning; bfloat16 is mixed precision"
    )


class MetricsSettings(_Section):
    """The Prometheus endpoint."""

    enabled: bool = Field(True, description="serve the endpoint")
    host: str = Field("127.0.0.1", description="address to bind")
    port: int = Field(9464, ge=0, le=65_535, description="port to bind; 0 takes a free one")
    stuck_seconds: float = Field(
        300,
        gt=0,
        description="a worker whose loop does not come round for so long is stuck: /health says "
        "so, and the log where, seconds",
    )


class PrivacySettings(_Section):
    """Pseudonymous ids."""

    user_id_key: SecretStr | None = Field(
        None,
        repr=False,
        min_length=16,
        description="hash user ids with this key (HMAC-SHA-256) before publishing",
    )


class Settings(BaseSettings):
    """Every setting of innerloop, by section."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    file_content: ClassVar[dict[str, Any]] = {}

    kafka: KafkaSettings = KafkaSettings()
    wire: WireSettings = WireSettings()
    worker: WorkerSettings = WorkerSettings()
    training: TrainingSettings = TrainingSettings()
    tuning: TuningSettings = TuningSettings()
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
        # Each is brought to one form first: merged, two spellings of a property would be two.
        environment = InitSettingsSource(settings_cls, flat_content(env_settings()))
        file = InitSettingsSource(settings_cls, flat_content(cls.file_content))
        return (init_settings, environment, file)


def load_settings(
    config_file: Path | None = None, flags: Mapping[str, Mapping[str, Any]] | None = None
) -> Settings:
    """Read the settings from file, environment and flags.

    Args:
        config_file: TOML file. None takes `INNERLOOP_CONFIG`, else `innerloop.toml` if it exists.
        flags: values given on the command line, by section; None among them means "not given".

    Raises:
        SettingsError: the file is missing or is no TOML, or a setting is unknown or wrong; the
            message names it, where it was given and what would be right.
    """
    file = find_config_file(config_file)
    given = {
        section: {name: value for name, value in values.items() if value is not None}
        for section, values in (flags or {}).items()
    }
    check_environment(os.environ, Settings)

    class LoadedSettings(Settings):
        file_content = read_toml(file) if file else {}

    try:
        loaded = LoadedSettings(**flat_content(given))
    except ValidationError as error:
        raise SettingsError(explain(error, Settings, given, os.environ, file)) from None
    # Of the class that everybody knows, so that equal settings are equal.
    return Settings.model_construct(
        **{name: getattr(loaded, name) for name in Settings.model_fields}
    )
