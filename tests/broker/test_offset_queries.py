"""Offsets are asked for again while the error is one that passes, and no longer."""

from __future__ import annotations

import logging
import time

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from schemas.errors import BrokerError
from schemas.settings import Settings
from schemas.topics import Topic
from worker.kafka_admin import create_topics
from worker.offset_queries import held_offsets, offsets_at
from worker.topic_follower import TopicFollower

PATIENCE_S = 60.0


class Shaky(Consumer):
    """A consumer whose first requests fail, as those to a leader that is just being made."""

    errors: list[int]

    def get_watermark_offsets(self, *args, **kwargs):
        self._fail()
        return super().get_watermark_offsets(*args, **kwargs)

    def offsets_for_times(self, *args, **kwargs):
        self._fail()
        return super().offsets_for_times(*args, **kwargs)

    def list_topics(self, *args, **kwargs):
        self._fail()
        return super().list_topics(*args, **kwargs)

    def _fail(self) -> None:
        if self.errors:
            raise KafkaException(KafkaError(self.errors.pop(0)))


def shaky(settings: Settings, *errors: int) -> Shaky:
    consumer = Shaky(settings.kafka.consumer_config("nobody"))
    consumer.errors = list(errors)
    return consumer


PASSING = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)


@pytest.fixture
def filled(kafka_settings, produce_all) -> Settings:
    create_topics(kafka_settings, [Topic.CLICKSTREAM])
    produce_all(kafka_settings, Topic.CLICKSTREAM, [(f"u{n}", b"x") for n in range(30)])
    return kafka_settings


def test_what_passes_is_waited_for(filled):
    name = filled.kafka.topic(Topic.CLICKSTREAM)
    consumer = shaky(filled, *PASSING, KafkaError.UNKNOWN_TOPIC_OR_PART)
    ends = [held_offsets(consumer, name, n, PATIENCE_S).stop for n in range(3)]
    assert sum(ends) == 30
    consumer.errors = list(PASSING)
    assert offsets_at(consumer, name, [0, 1, 2], 1, PATIENCE_S) == {
        n: 0 for n, end in enumerate(ends) if end
    }
    later = time.time_ns() // 1_000_000 + 60_000
    assert offsets_at(consumer, name, [0, 1, 2], later, PATIENCE_S) in ({}, dict(enumerate(ends)))
    consumer.close()


def test_what_stays_is_said_at_once_and_the_rest_when_time_is_over(filled):
    name = filled.kafka.topic(Topic.CLICKSTREAM)
    denied = KafkaError.TOPIC_AUTHORIZATION_FAILED
    consumer = shaky(filled, denied, *PASSING)
    with pytest.raises(BrokerError, match=rf"offsets of {name}-1: .*uthorization"):
        held_offsets(consumer, name, 1, PATIENCE_S)
    assert len(consumer.errors) == len(PASSING)
    consumer.errors = [KafkaError.NOT_LEADER_FOR_PARTITION] * 1000
    with pytest.raises(BrokerError, match=r"by time: .*[Nn]ot leader"):
        offsets_at(consumer, name, [0], 0, 0.3)
    consumer.close()


def test_a_follower_survives_passing_trouble_at_its_start_and_later(
    kafka_settings, monkeypatch, caplog
):
    create_topics(kafka_settings, [Topic.RECOMMENDATIONS])
    name = kafka_settings.kafka.topic(Topic.RECOMMENDATIONS)
    made: list[Shaky] = []

    def make(config) -> Shaky:
        made.append(Shaky(config))
        made[-1].errors = list(PASSING)
        return made[-1]

    monkeypatch.setattr("worker.topic_follower.Consumer", make)
    follower = TopicFollower(kafka_settings.kafka, Topic.RECOMMENDATIONS, refresh_s=0.0)
    assert not made[0].errors
    # Trouble that stays, too, does not end what is read already.
    made[0].errors = [KafkaError.TOPIC_AUTHORIZATION_FAILED]
    producer = Producer(kafka_settings.kafka.producer_config())
    producer.produce(name, b"value")
    assert producer.flush(PATIENCE_S) == 0
    deadline = time.monotonic() + PATIENCE_S
    with caplog.at_level(logging.WARNING):
        while not (records := follower.read(10, 0.2)):
            assert time.monotonic() < deadline
    assert [record.value() for record in records] == [b"value"]
    assert "looking for partitions" in caplog.text
    follower.close()
