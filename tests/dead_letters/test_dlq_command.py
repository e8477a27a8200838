"""`innerloop dlq` on a broker: what is in the topic, and each dead letter put back once."""

from collections import Counter

import msgspec
import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from schemas.clickstream import ClickstreamEvent, EventType
from schemas.codec import JsonCodec
from schemas.dead_letter import DeadLetterHeader, ReplayHeader
from schemas.settings import Settings
from schemas.topics import Topic
from worker.cli.app import app
from worker.kafka_admin import create_topics
from worker.outputs import dead_letter_record
from worker.stages.decode import Decoder
from worker.stages.publish import Publisher

NOW_MS = 1_700_000_000_000
CONSENTING = {"type": EventType.VIEW, "time": NOW_MS, "item_id": "i"}


def event(user: str, number: int) -> bytes:
    values = {"event_id": f"{user}-{number}", "user_id": user, **CONSENTING}
    return msgspec.json.encode(ClickstreamEvent(**values))


@pytest.fixture
def settings(broker_settings) -> Settings:
    create_topics(broker_settings)
    return broker_settings


@pytest.fixture
def run(settings, tmp_path):
    """Run a command of `innerloop dlq`."""
    config = tmp_path / "innerloop.toml"
    config.write_text(f'[kafka]\ntopic_prefix = "{settings.kafka.topic_prefix}"\n')
    flags = ["--config", str(config), "--bootstrap-servers", settings.kafka.bootstrap_servers]

    def invoke(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["dlq", *arguments, *flags], env={"COLUMNS": "200"})
        assert result.exit_code == 0, (result.output, result.exception)
        return result.output

    return invoke


def dead_letter_all(settings, consume_all) -> int:
    """Do with what is new in `clickstream` what the worker does with the unusable."""
    decoder = Decoder(JsonCodec(), max_bytes=1000, max_future_ms=0, now_ms=lambda: NOW_MS)
    found = decoder.decode(consume_all(settings, Topic.CLICKSTREAM)).dead_letters
    done = len([m for m in consume_all(settings, Topic.DEAD_LETTERS) if is_letter(m)])
    topic = settings.kafka.topic(Topic.DEAD_LETTERS)
    # By time, so that those already there come first.
    found.sort(key=lambda letter: letter.message.timestamp()[1])
    records = [dead_letter_record(letter, topic) for letter in found[done:]]
    Publisher(Producer(settings.kafka.producer_config())).publish(records)
    return len(records)


def is_letter(message) -> bool:
    return DeadLetterHeader.REASON in dict(message.headers() or [])


def replayed(settings, consume_all) -> list:
    return [
        m
        for m in consume_all(settings, Topic.CLICKSTREAM)
        if ReplayHeader.FROM in dict(m.headers() or [])
    ]


@pytest.fixture
def filled(settings, consume_all) -> Settings:
    """Three kinds of unusable records with headers of their own, among usable ones."""
    producer = Producer(settings.kafka.producer_config())
    topic = settings.kafka.topic(Topic.CLICKSTREAM)
    for n in range(6):
        bad = [(b"\xff\xfe%d" % n, "u"), (b"{", "u"), (event("v", n), "not-v")]
        for value, key in [*bad, (event("u", n), "u")]:
            producer.produce(topic, value, key, headers=[("trace", b"%d\x00" % n)])
    assert producer.flush(30) == 0
    assert dead_letter_all(settings, consume_all) == 18
    return settings


def test_inspect_counts_and_shows(filled, run):
    shown = run("inspect", "--sample", "18")
    assert "dead letters: 18, of which replayed: 0" in shown
    lines = {line.split()[0]: line.split() for line in shown.splitlines() if line.split()}
    for reason in ("invalid_utf8", "malformed", "key_mismatch"):
        assert lines[reason][1:4] == ["decode", filled.kafka.topic(Topic.CLICKSTREAM), "6"]
    assert "value  hex ff fe 30" in shown
    assert 'value  {"event_id":"v-3"' in shown
    assert r"header trace: 5\x00" in shown
    shown = run("inspect", "--reason", "malformed", "--sample", "0", "--since", "2020-01-01")
    assert "dead letters: 6" in shown and "key_mismatch" not in shown and "value" not in shown
    assert "dead letters: 0" in run("inspect", "--until", "2020-01-01")


def test_each_dead_letter_is_put_back_once_whatever_the_filters(filled, run, consume_all):
    assert "to be put back: 6 (6 malformed)" in run("replay", "--reason", "malformed", "--dry-run")
    assert replayed(filled, consume_all) == []
    assert "put back: 6 (6 malformed)" in run("replay", "--reason", "malformed")
    again = run("replay")
    assert "put back: 12" in again and "put back by an earlier replay: 6" in again
    assert "put back: 0" in run("replay")
    assert "dead letters: 18, of which replayed: 18" in run("inspect")

    originals = [m for m in consume_all(filled, Topic.CLICKSTREAM) if is_bad(m)]
    found = replayed(filled, consume_all)
    assert Counter(map(identity, found)) == Counter(map(identity, originals))
    for message in found:
        names = [name for name, _ in message.headers()]
        assert names == ["trace", ReplayHeader.FROM]

    # What is still unusable is a new dead letter, which the next replay takes up.
    assert dead_letter_all(filled, consume_all) == 18
    shown = run("inspect")
    assert "dead letters: 36, of which replayed: 18" in shown
    assert "put back: 4" in run("replay", "--limit", "4")
    assert "put back: 14" in run("replay")
    assert "put back: 36" in run("replay", "--again")


def is_bad(message) -> bool:
    by_user = message.value().startswith(b'{"event_id":"u')
    return not by_user and ReplayHeader.FROM not in dict(message.headers())


def identity(message) -> tuple:
    trace = dict(message.headers())["trace"]
    return message.partition(), message.key(), message.value(), trace


def test_an_empty_topic_is_told(settings, run):
    assert "dead letters: 0" in run("inspect")
    assert "put back: 0" in run("replay")
