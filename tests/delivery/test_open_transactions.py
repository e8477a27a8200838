"""A transaction left open hides what is committed after it: who takes over has to wait for it."""

import time
from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from schemas.errors import BrokerError
from schemas.settings import Settings
from schemas.topics import Topic
from worker import clients, open_transactions
from worker.clients import make_reader
from worker.kafka_admin import consumer_lag, create_topics

TOPIC = Topic.USER_STATE


@pytest.fixture
def settings(kafka_settings):
    create_topics(kafka_settings)
    return kafka_settings


@pytest.fixture
def transaction(settings):
    """Begin a transaction with one record in partition 0."""

    def begin(value: bytes) -> Producer:
        name = f"{settings.worker.group_id}-{value.decode()}"
        config = {"transactional.id": name, "transaction.timeout.ms": 60_000}
        producer = Producer({**settings.kafka.producer_config(), **config})
        producer.init_transactions(30)
        producer.begin_transaction()
        producer.produce(settings.kafka.topic(TOPIC), value, b"u", partition=0)
        assert producer.flush(30) == 0
        return producer

    return begin


def read_until(reader, done: Callable[[list[bytes]], bool], timeout_s: float = 120) -> list[bytes]:
    values: list[bytes] = []
    deadline = time.monotonic() + timeout_s
    while not done(values):
        assert time.monotonic() < deadline, values
        values += [message.value() for message in reader.read(100, 0.1)]
    return values


def test_a_partition_is_at_its_end_when_open_transactions_are_over(settings, transaction):
    transaction(b"before").commit_transaction()
    left_open = transaction(b"left open")
    transaction(b"hidden").commit_transaction()
    patient = make_reader(settings, TOPIC, wait_ms=10, await_transactions=True)
    hasty = make_reader(settings, TOPIC, wait_ms=10)
    for reader in (patient, hasty):
        reader.add([0])
    assert read_until(hasty, lambda _: not hasty.behind) == [b"before"]
    seen = read_until(patient, lambda values: len(values) > 0)
    assert seen == [b"before"]
    for _ in range(20):
        assert patient.read(100, 0.1) == [] and patient.behind == {0}
    assert patient.written_end(0, 10) > hasty.end_offset(hasty.topic, 0, 10)
    left_open.abort_transaction()
    assert read_until(patient, lambda _: not patient.behind) == [b"hidden"]
    for reader in (patient, hasty):
        reader.close()


def test_one_that_no_timeout_ends_is_not_waited_for(settings, transaction, monkeypatch):
    """It outlives the timeout that the worker's settings give each, as a hanging one would."""
    monkeypatch.setattr(clients, "MARGIN_S", 1.0)
    monkeypatch.setattr(open_transactions, "CHECK_EVERY_S", 0.2)
    data = settings.model_dump()
    data["worker"]["transaction_timeout_ms"] = 1000
    left_open = transaction(b"left open")
    reader = make_reader(Settings.model_validate(data), TOPIC, wait_ms=10, await_transactions=True)
    reader.add([0])
    with pytest.raises(BrokerError, match=r"user-state-0 cannot be read past offset 0, up to 1"):
        read_until(reader, lambda _: False)
    left_open.abort_transaction()
    reader.close()


def test_the_lag_is_told_while_a_transaction_with_offsets_is_open(
    settings, transaction, produce_all
):
    clickstream = settings.kafka.topic(Topic.CLICKSTREAM)
    (sent,) = produce_all(settings, Topic.CLICKSTREAM, [(b"u", b"x")])
    group = settings.worker.group_id
    consumer = Consumer(settings.kafka.consumer_config(group))
    consumer.subscribe([clickstream])
    read_until_one(consumer)
    producer = transaction(b"t")
    offsets = [TopicPartition(clickstream, sent.partition(), 1)]
    producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata())
    assert sum(lag.lag for lag in consumer_lag(settings, group)) == 1
    producer.commit_transaction()
    deadline = time.monotonic() + 120
    while sum(lag.lag for lag in consumer_lag(settings, group)):
        assert time.monotonic() < deadline
    consumer.close()


def read_until_one(consumer: Consumer, timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not consumer.consume(1, 0.2):
        assert time.monotonic() < deadline
