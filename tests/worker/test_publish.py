"""Publishing is all or an error, and an error commits nothing."""

import pytest
from confluent_kafka import Producer
from worker_parts import Journal, Worker, event

from schemas.topics import Topic
from worker.stages.publish import OutgoingRecord, Publisher, PublishError


def record(value: bytes = b"v", **fields) -> OutgoingRecord:
    return OutgoingRecord("recommendations", 0, b"k", value, **fields)


def test_brokers_that_are_gone_are_an_error():
    config = {"bootstrap.servers": "127.0.0.1:1", "message.timeout.ms": 300, "log_level": 0}
    with pytest.raises(PublishError, match=r"recommendations.*nothing of this micro-batch"):
        Publisher(Producer(config)).publish([record()])


def test_a_record_too_large_for_the_producer_is_an_error_unless_it_can_do_without_its_value(
    embedded_settings, consume_all
):
    config = embedded_settings.kafka.producer_config(**{"message.max.bytes": 2000})
    publisher = Publisher(Producer(config))
    topic = embedded_settings.kafka.topic(Topic.DEAD_LETTERS)
    large = b"x" * 3000
    with pytest.raises(PublishError, match="too large"):
        publisher.publish([record(large)])
    substitute = OutgoingRecord(topic, 1, b"k", None, [("why", b"size")])
    fitting = OutgoingRecord(topic, 1, b"k", b"fits")
    publisher.publish(
        [OutgoingRecord(topic, 1, b"k", large, without_value=lambda: substitute), fitting]
    )
    found = [(m.value(), m.partition()) for m in consume_all(embedded_settings, Topic.DEAD_LETTERS)]
    assert sorted(found, key=str) == [(None, 1), (b"fits", 1)]


def test_more_records_than_the_local_queue_holds_are_published(embedded_settings, consume_all):
    config = embedded_settings.kafka.producer_config(**{"queue.buffering.max.messages": 10})
    topic = embedded_settings.kafka.topic(Topic.RECOMMENDATIONS)
    records = [OutgoingRecord(topic, n % 4, b"k", str(n).encode()) for n in range(95)]
    Publisher(Producer(config)).publish(records)
    found = [
        (m.partition(), int(m.value()))
        for m in consume_all(embedded_settings, Topic.RECOMMENDATIONS)
    ]
    assert sorted(n for _, n in found) == list(range(95))
    for partition in range(4):
        own = [n for p, n in found if p == partition]
        assert own == sorted(own)


@pytest.mark.parametrize("failing", [1, 2])
def test_what_is_not_published_is_not_committed(failing, monkeypatch):
    worker = Worker()
    calls = []
    publish = Journal.publish

    def fail(self, records):
        calls.append(len(records))
        if len(calls) == failing:
            raise PublishError("refused")
        publish(self, records)

    monkeypatch.setattr(Journal, "publish", fail)
    with pytest.raises(PublishError):
        worker.process([event("u", 0)])
    assert worker.journal.committed == {}
    assert len(worker.journal.states()) == 0
