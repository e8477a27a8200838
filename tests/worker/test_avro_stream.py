"""The stream in Avro with Schema-Registry framing, garbage included."""

import uuid

import pytest
from running_worker import drain, make_topics, running, with_worker
from worker_parts import event, item

from schemas.clickstream import EventType
from schemas.codec import build_codec
from schemas.dead_letter import DeadLetterHeader
from schemas.recommendations import Recommendation
from schemas.settings import Settings
from schemas.topics import Topic


@pytest.fixture
def settings(embedded_settings) -> Settings:
    settings = with_worker(embedded_settings)
    wire = {"format": "avro", "registry_url": f"mock://{uuid.uuid4().hex}"}
    return Settings.model_validate({**settings.model_dump(), "wire": wire})


def test_avro_in_gives_avro_out(settings, produce_all, consume_all):
    make_topics(settings)
    codec = build_codec(settings.wire)

    def records(topic, messages):
        name = settings.kafka.topic(topic)
        return [(key, codec.encode(name, message)) for key, message in messages]

    catalogue = [(f"i{n}", item(n)) for n in range(10)]
    events = [("u", event("u", n, f"i{n}")) for n in range(3)]
    events.append(("v", event("v", 0, None, type=EventType.SEARCH, query="thing")))
    good = records(Topic.CLICKSTREAM, events)
    other_schema = records(Topic.CATALOG, catalogue[:1])[0][1]
    garbage = [
        ("u", b"\x00\x00\x0f\x42\x40abc", "unknown_schema"),
        ("u", other_schema, "invalid_field"),
        ("u", good[0][1][:-3], "malformed"),
        ("u", b'{"event_id": "json"}', "malformed"),
        ("w", good[0][1], "key_mismatch"),
    ]
    produce_all(settings, Topic.CATALOG, records(Topic.CATALOG, catalogue))
    bad = [(key, value) for key, value, _ in garbage]
    produce_all(settings, Topic.CLICKSTREAM, [good[0], *bad, *good[1:]])
    with running(settings) as worker:
        drain(settings)
        assert worker.sample("innerloop_records_total", outcome="applied") == len(good)
    decode = codec.decoder(Recommendation)
    answers = [decode(m.value()) for m in consume_all(settings, Topic.RECOMMENDATIONS)]
    assert sorted(r.caused_by for r in answers) == ["u-0", "u-1", "u-2", "v-0"]
    assert all(len(r.items) == 5 and r.adaptation.steps == 1 for r in answers)
    reasons = {
        (m.key().decode(), m.value(), dict(m.headers())[DeadLetterHeader.REASON].decode())
        for m in consume_all(settings, Topic.DEAD_LETTERS)
    }
    assert {(key, value) for key, value, _ in reasons} == set(bad)
    assert reasons == set(garbage)
