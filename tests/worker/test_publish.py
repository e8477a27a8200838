"""Publishing is all or an error, and an error commits nothing."""

import pytest
from confluent_kafka import Producer
from worker_parts import Journal, Worker, event

from schemas.topics import Topic
from worker.clients import make_producer
from worker.stages.publish import (
    OutgoingRecord,
    Publisher,
    PublishError,
    RecordColumns,
    joined,
)


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


def columns(topic: str, numbers: range) -> RecordColumns:
    return RecordColumns(
        topic, [n % 4 for n in numbers], [b"k"] * len(numbers), [str(n).encode() for n in numbers]
    )


@pytest.mark.parametrize("kind", [columns, lambda *of: list(columns(*of))])
def test_more_records_than_the_local_queue_holds_are_published(
    embedded_settings, consume_all, kind
):
    config = embedded_settings.kafka.producer_config(**{"queue.buffering.max.messages": 10})
    topic = embedded_settings.kafka.topic(Topic.RECOMMENDATIONS)
    Publisher(Producer(config)).publish(kind(topic, range(95)))
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


def test_columns_are_a_sequence_of_records():
    records = RecordColumns("t", [2, 0, 1], [b"a", b"b", b"c"], [b"1", None, b"3"])
    made = [
        OutgoingRecord("t", 2, b"a", b"1"),
        OutgoingRecord("t", 0, b"b", None),
        OutgoingRecord("t", 1, b"c", b"3"),
    ]
    assert list(records) == made and len(records) == 3
    assert [records[0], records[-1]] == [made[0], made[2]]
    assert list(records[1:]) == made[1:] and isinstance(records[1:], RecordColumns)
    assert not RecordColumns("t", [], [], [])


def test_columns_of_one_topic_are_joined_as_columns():
    a = RecordColumns("t", [2], [b"a"], [b"1"])
    b = RecordColumns("t", [0, 1], [b"b", b"c"], [None, b"3"])
    other = RecordColumns("o", [0], [b"d"], [b"4"])
    empty = RecordColumns("o", [], [], [])
    both = joined(a, empty, b)
    assert isinstance(both, RecordColumns) and list(both) == [*a, *b]
    assert joined(empty, a, []) is a
    assert joined(a, other) == [*a, *other]
    assert joined(a, [record()]) == [*a, record()]
    assert len(joined(empty, [])) == 0


def test_headers_are_a_column_that_may_be_missing():
    one, other = [("n", b"1")], [("n", b"2")]
    a = RecordColumns("t", [2, 0], [b"a", b"b"], [b"1", None], [one, None])
    b = RecordColumns("t", [1], [b"c"], [b"3"])
    made = [OutgoingRecord("t", 2, b"a", b"1", one), OutgoingRecord("t", 0, b"b", None)]
    assert list(a) == made and [a[0], a[1]] == made
    assert list(a[1:]) == made[1:] and a[:1].headers == [one]
    for both in (joined(a, b), joined(b, a)):
        assert isinstance(both, RecordColumns)
        assert sorted(map(str, both)) == sorted(map(str, [*a, *b]))
    assert joined(b, b).headers == ()
    c = RecordColumns("t", [3], [b"d"], [b"4"], [other])
    assert [record.headers for record in joined(a, b, c)] == [one, None, None, other]


def test_columns_are_published_with_their_headers(embedded_settings, consume_all):
    topic = embedded_settings.kafka.topic(Topic.RECOMMENDATIONS)
    publisher = Publisher(make_producer(embedded_settings))
    headers = [[("traceparent", b"x"), ("tracestate", b"y")], None]
    publisher.publish(RecordColumns(topic, [1, 2], [b"a", b"b"], [b"1", b"2"], headers))
    found = {m.key(): m.headers() for m in consume_all(embedded_settings, Topic.RECOMMENDATIONS)}
    assert found == {b"a": headers[0], b"b": None}


def test_columns_are_published_with_keys_and_without_values(embedded_settings, consume_all):
    topic = embedded_settings.kafka.topic(Topic.USER_STATE)
    publisher = Publisher(make_producer(embedded_settings))
    publisher.publish(RecordColumns(topic, [3, 0], [b"a", b"b"], [b"1", None]))
    messages = consume_all(embedded_settings, Topic.USER_STATE)
    found = {(m.partition(), m.key(), m.value()) for m in messages}
    assert found == {(3, b"a", b"1"), (0, b"b", None)}


def test_a_column_of_a_record_that_is_too_large_is_an_error(embedded_settings):
    config = embedded_settings.kafka.producer_config(**{"message.max.bytes": 2000})
    topic = embedded_settings.kafka.topic(Topic.RECOMMENDATIONS)
    with pytest.raises(PublishError, match="too large"):
        Publisher(Producer(config)).publish(
            RecordColumns(topic, [0, 1], [b"a", b"b"], [b"x" * 3000, b"fits"])
        )
