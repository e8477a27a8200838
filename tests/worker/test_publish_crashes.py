"""What was published is there, and what is not there is an error, when a broker dies too.

Only failures are reported: records that were delivered call nothing back.
"""

import threading
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from running_worker import wait_until

from schemas.settings import Settings
from schemas.topics import Topic
from worker.clients import make_producer
from worker.kafka_admin import create_topics
from worker.stages.publish import Publisher, PublishError, RecordColumns

ConsumeAll = Callable[[Settings, Topic], list[Message]]

NOT_YET = {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE}
"""What a broker answers that has just come back."""


@pytest.fixture
def settings_with(private_kafka_broker, make_settings) -> Callable[[int], Settings]:
    def make(message_timeout_ms: int) -> Settings:
        data = make_settings(private_kafka_broker.bootstrap_servers).model_dump()
        data["kafka"]["producer_properties"] = {"message.timeout.ms": str(message_timeout_ms)}
        settings = Settings.model_validate(data)
        create_topics(settings)
        return settings

    return make


def numbered(settings: Settings, numbers: range) -> RecordColumns:
    return RecordColumns(
        settings.kafka.topic(Topic.RECOMMENDATIONS),
        [number % 3 for number in numbers],
        [b"k"] * len(numbers),
        [str(number).encode() for number in numbers],
    )


def read_back(settings: Settings, consume_all: ConsumeAll) -> list[int]:
    """Return the numbers on the topic, sorted."""
    numbers: list[int] = []

    def read() -> bool:
        try:
            messages = consume_all(settings, Topic.RECOMMENDATIONS)
        except KafkaException as error:
            if error.args[0].code() not in NOT_YET:
                raise
            return False
        numbers.extend(sorted(int(m.value()) for m in messages))
        return True

    wait_until(read, "the topic's end")
    return numbers


@pytest.mark.parametrize(("timeout_ms", "why"), [(8000, "timed out"), (60_000, "Purged")])
def test_a_failure_is_not_missed(private_kafka_broker, settings_with, consume_all, timeout_ms, why):
    settings = settings_with(timeout_ms)
    producer = make_producer(settings)
    publisher = Publisher(producer)
    publisher.publish(numbered(settings, acknowledged := range(500)))
    private_kafka_broker.kill()
    if why == "Purged":
        threading.Thread(target=purge, args=(producer,)).start()
    with pytest.raises(PublishError, match=f"{why}.*nothing of this micro-batch"):
        publisher.publish(numbered(settings, range(1000, 1500)))
    private_kafka_broker.start()
    assert read_back(settings, consume_all)[:500] == list(acknowledged)


def purge(producer: Producer) -> None:
    wait_until(lambda: len(producer) == 500, "records on their way")
    producer.purge()


def test_what_is_published_while_a_broker_dies_is_there_once(
    private_kafka_broker, settings_with, consume_all
):
    settings = settings_with(60_000)
    publisher = Publisher(make_producer(settings))
    published: list[int] = []

    def trouble() -> None:
        for least in (1000, 2000):
            wait_until(lambda least=least: len(published) >= least, "records published")
            private_kafka_broker.kill()
            private_kafka_broker.start()

    thread = threading.Thread(target=trouble)
    thread.start()
    while thread.is_alive() or len(published) < 3000:
        numbers = range(len(published), len(published) + 200)
        publisher.publish(numbered(settings, numbers))
        published += numbers
    thread.join()
    assert read_back(settings, consume_all) == published
