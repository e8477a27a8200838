"""Garbage among good events, on a broker: dead letters byte for byte, good events unharmed."""

import os

import msgspec
import pytest
from running_worker import drain, make_topics, running, with_kafka, with_worker
from test_decode import GARBAGE
from worker_parts import event, item

from schemas.dead_letter import DeadLetterHeader
from schemas.recommendations import Recommendation
from schemas.topics import Topic

encode = msgspec.json.encode
decode_recommendation = msgspec.json.Decoder(Recommendation).decode


@pytest.fixture
def settings(broker_settings):
    # A publisher of garbage does not mind sizes; librdkafka's own limit is on what is not packed.
    large = {"message.max.bytes": 4_000_000}
    return with_kafka(with_worker(broker_settings), producer_properties=large)


def header(message, name: DeadLetterHeader) -> str:
    return dict(message.headers())[name].decode()


def test_garbage_is_dead_lettered_and_good_events_are_answered(settings, produce_all, consume_all):
    make_topics(settings)
    produce_all(settings, Topic.CATALOG, [(f"i{n}", encode(item(n))) for n in range(40)])
    records, good = [], []
    for n, (value, key, _) in enumerate(GARBAGE):
        e = event(f"u{n % 4}", n, f"i{n}" if n % 7 else "unknown")
        good.append(e)
        records += [(key, value), (e.user_id, encode(e))]
    sent = produce_all(settings, Topic.CLICKSTREAM, records)
    with running(settings) as worker:
        drain(settings)
        for reason in {reason for _, _, reason in GARBAGE}:
            expected = sum(r == reason for _, _, r in GARBAGE)
            assert worker.sample("innerloop_dead_letters_total", reason=reason) == expected
    answers = [
        decode_recommendation(m.value()) for m in consume_all(settings, Topic.RECOMMENDATIONS)
    ]
    assert sorted(r.caused_by for r in answers) == sorted(e.event_id for e in good)
    unknown = {e.event_id for e in good if e.item_id == "unknown"}
    assert {r.caused_by for r in answers if r.adaptation.steps == 0} == unknown
    letters = consume_all(settings, Topic.DEAD_LETTERS)
    origins = {(m.partition(), m.offset()): m for m in sent}
    found = []
    for letter in letters:
        partition = int(header(letter, DeadLetterHeader.SOURCE_PARTITION))
        origin = origins[partition, int(header(letter, DeadLetterHeader.SOURCE_OFFSET))]
        assert (letter.key(), letter.value()) == (origin.key(), origin.value())
        assert letter.partition() == partition
        source_time = int(header(letter, DeadLetterHeader.SOURCE_TIMESTAMP))
        assert source_time > 1_600_000_000_000
        assert header(letter, DeadLetterHeader.SOURCE_TOPIC) == origin.topic()
        found.append((letter.value(), letter.key(), header(letter, DeadLetterHeader.REASON)))
    assert sorted(map(repr, found)) == sorted(map(repr, GARBAGE))


def test_a_value_too_large_for_the_dead_letter_topic_does_not_stop_the_stream(
    kafka_settings, produce_all, consume_all
):
    settings = with_worker(kafka_settings)
    make_topics(settings, {Topic.DEAD_LETTERS: {"max.message.bytes": "20000"}})
    produce_all(settings, Topic.CATALOG, [("i1", encode(item(1)))])
    huge = os.urandom(200_000)  # nothing that compression makes small
    records = [("u", encode(event("u", 0))), ("u", huge), ("u", b"small"), ("v", huge)]
    records.append(("u", encode(event("u", 1))))
    produce_all(settings, Topic.CLICKSTREAM, records)
    with running(settings):
        drain(settings)
    assert len(consume_all(settings, Topic.RECOMMENDATIONS)) == 2
    letters = consume_all(settings, Topic.DEAD_LETTERS)
    small = [m for m in letters if m.value() is not None]
    substitutes = [m for m in letters if m.value() is None]
    assert [m.value() for m in small] == [b"small"]
    assert sorted(m.key() for m in substitutes) == [b"u", b"v"]
    for letter in substitutes:
        assert header(letter, DeadLetterHeader.REASON) == "too_large"
        assert "200000 bytes" in header(letter, DeadLetterHeader.MESSAGE)
        assert header(letter, DeadLetterHeader.SOURCE_OFFSET)
