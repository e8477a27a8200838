"""Replays into brokers: everything arrives, once, in order, and repeats itself when run again."""

from __future__ import annotations

import hashlib
import hmac
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import KafkaException, Message

from producer.datasets import EventFile, open_items
from producer.pacing import Pace
from producer.publisher import Publisher
from producer.replay import ReplayReport, replay
from schemas.catalog import CatalogItem
from schemas.clickstream import ClickstreamEvent, EventType
from schemas.codec import build_codec
from schemas.errors import BrokerError, CodecError, SettingsError
from schemas.pseudonyms import pseudonymiser
from schemas.settings import PrivacySettings, Settings
from schemas.topics import Topic
from worker.kafka_admin import create_topics

USERS = 40
EVENTS = 3000


@pytest.fixture
def dataset(tmp_path: Path) -> tuple[EventFile, list[CatalogItem]]:
    events = tmp_path / "events.csv"
    events.write_text(
        "user_id,item_id,event_type,timestamp\n"
        + "".join(
            f"user-{n * 7919 % USERS},item-{n % 50},view,{1_500_000_000 + n // 3}\n"
            for n in range(EVENTS)
        )
    )
    items = tmp_path / "items.csv"
    items.write_text("item_id,title\n" + "".join(f"item-{n},Title {n}\n" for n in range(50)))
    return EventFile(events), list(open_items([items]).items())


def make_events(count: int) -> list[ClickstreamEvent]:
    return [
        ClickstreamEvent(
            event_id=f"e{n}", user_id=f"u{n % 5}", type=EventType.VIEW, time=n * 1000, item_id="i"
        )
        for n in range(count)
    ]


def decoded(settings: Settings, messages: list[Message]) -> list[ClickstreamEvent]:
    decode = build_codec(settings.wire).decoder(ClickstreamEvent)
    return [decode(message.value()) for message in messages]


def published(settings: Settings, consume_all) -> int:
    try:
        return len(consume_all(settings, Topic.CLICKSTREAM))
    except KafkaException as error:
        # A topic just created may have no leader yet.
        assert error.args[0].retriable() or "Not leader" in error.args[0].str(), error
        return 0


def test_everything_arrives_in_each_users_order(
    broker_settings: Settings, dataset: tuple[EventFile, list[CatalogItem]], consume_all
) -> None:
    file, items = dataset
    create_topics(broker_settings)

    report = replay(broker_settings, file.events(), items)

    assert (report.events_sent, report.items_sent, report.interrupted) == (EVENTS, 50, False)
    messages = consume_all(broker_settings, Topic.CLICKSTREAM)
    events = decoded(broker_settings, messages)
    assert len(events) == EVENTS
    by_user: dict[str, list[ClickstreamEvent]] = defaultdict(list)
    partitions: dict[str, set[int]] = defaultdict(set)
    for message, event in zip(messages, events, strict=True):
        assert message.key() == event.user_id.encode()
        by_user[event.user_id].append(event)
        partitions[event.user_id].add(message.partition())
    assert all(len(numbers) == 1 for numbers in partitions.values())
    assert len(set.union(*partitions.values())) > 1
    for user, own in by_user.items():
        assert own == [event for event in file.events() if event.user_id == user]

    catalog = consume_all(broker_settings, Topic.CATALOG)
    decode = build_codec(broker_settings.wire).decoder(CatalogItem)
    sent = {item.item_id.encode(): item for item in items}
    assert {message.key(): decode(message.value()) for message in catalog} == sent
    assert len(catalog) == len(items)


def test_a_replay_killed_and_run_again_repeats_its_event_ids(
    broker_settings: Settings, dataset: tuple[EventFile, list[CatalogItem]], consume_all
) -> None:
    file, _ = dataset
    create_topics(broker_settings)
    kafka = broker_settings.kafka
    command = [
        *(sys.executable, "-c", "from worker.cli import main; main()", "replay"),
        *("--events", str(file.path)),
        *("--bootstrap-servers", kafka.bootstrap_servers, "--no-catalog", "--rate", "150"),
    ]
    environment = os.environ | {"INNERLOOP_KAFKA__TOPIC_PREFIX": kafka.topic_prefix}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while published(broker_settings, consume_all) < 200:
            assert process.poll() is None, "the replay ended before it could be killed"
            assert time.monotonic() < deadline
    finally:
        process.kill()
        process.wait()
    killed = decoded(broker_settings, consume_all(broker_settings, Topic.CLICKSTREAM))
    assert 200 <= len(killed) < EVENTS

    subprocess.run([*command[:-2]], env=environment, check=True, stdout=subprocess.DEVNULL)

    messages = consume_all(broker_settings, Topic.CLICKSTREAM)
    both = decoded(broker_settings, messages)
    assert len(both) == len(killed) + EVENTS
    assert {event.event_id for event in killed} < {event.event_id for event in both}
    # Dropping repeated ids, as a worker does, leaves each event once and in each user's order.
    unique = list({event.event_id: event for event in both}.values())
    assert sorted(unique, key=lambda e: e.event_id) == sorted(
        file.events(), key=lambda e: e.event_id
    )
    for user in {event.user_id for event in unique}:
        own = [event.event_id for event in unique if event.user_id == user]
        assert own == [event.event_id for event in file.events() if event.user_id == user]


def test_a_full_queue_holds_the_replay_back(embedded_settings: Settings, consume_all) -> None:
    create_topics(embedded_settings)
    tight = embedded_settings.model_copy(
        update={
            "kafka": embedded_settings.kafka.model_copy(
                update={"producer_properties": {"queue.buffering.max.messages": 10}}
            )
        }
    )
    assert replay(tight, make_events(2000)).events_sent == 2000
    events = decoded(embedded_settings, consume_all(embedded_settings, Topic.CLICKSTREAM))
    assert len({event.event_id for event in events}) == 2000


def test_a_pace_is_kept(embedded_settings: Settings) -> None:
    create_topics(embedded_settings)
    report = replay(embedded_settings, make_events(101), pace=Pace(rate=200))
    # Open loop: 100 gaps of 5 ms are the least it can take.
    assert report.seconds >= 0.5
    report = replay(embedded_settings, make_events(6), pace=Pace(speed_up=20))
    assert report.seconds >= 0.25
    assert report.worst_lateness > 0


def test_times_can_be_those_of_sending(embedded_settings: Settings, consume_all) -> None:
    create_topics(embedded_settings)
    before = time.time_ns() // 1_000_000
    replay(embedded_settings, make_events(5), times="now")
    after = time.time_ns() // 1_000_000
    events = decoded(embedded_settings, consume_all(embedded_settings, Topic.CLICKSTREAM))
    assert len(events) == 5
    assert all(before <= event.time <= after for event in events)


def test_a_stop_ends_the_replay_and_keeps_what_was_sent(
    embedded_settings: Settings, consume_all
) -> None:
    create_topics(embedded_settings)
    stop = threading.Event()

    def events() -> Iterator[ClickstreamEvent]:
        for number, event in enumerate(make_events(100)):
            if number == 30:
                stop.set()
            yield event

    report = replay(embedded_settings, events(), stop=stop)
    assert report.interrupted
    assert report.events_sent == 30
    assert len(consume_all(embedded_settings, Topic.CLICKSTREAM)) == 30


def test_a_stop_wakes_a_replay_that_waits(embedded_settings: Settings) -> None:
    create_topics(embedded_settings)
    stop = threading.Event()
    started = threading.Event()
    reports: list[ReplayReport] = []

    def run() -> None:
        reports.append(
            replay(
                embedded_settings,
                make_events(2),
                pace=Pace(rate=0.001),  # the second event is due after a quarter of an hour
                stop=stop,
                progress=lambda _topic, _sent: started.set(),
            )
        )

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(120)
    stop.set()
    thread.join(120)
    assert not thread.is_alive()
    assert reports[0].interrupted


def test_progress_ends_at_what_was_sent(embedded_settings: Settings) -> None:
    create_topics(embedded_settings)
    told: dict[Topic, int] = {}
    replay(
        embedded_settings,
        make_events(2500),
        [CatalogItem(item_id="i")],
        progress=told.__setitem__,
    )
    assert told == {Topic.CATALOG: 1, Topic.CLICKSTREAM: 2500}


def test_missing_topics_are_named(embedded_settings: Settings) -> None:
    name = embedded_settings.kafka.topic(Topic.CLICKSTREAM)
    with pytest.raises(BrokerError, match=rf"have no topic .*{name}; `innerloop topics create`"):
        replay(embedded_settings, make_events(1))


def test_a_broker_that_is_not_there_is_named(make_settings) -> None:
    settings = make_settings("127.0.0.1:1")
    with pytest.raises(BrokerError, match=r"no Kafka broker answers at 127\.0\.0\.1:1 .* 0\.5 s"):
        Publisher(settings).check(Topic.CLICKSTREAM, timeout=0.5)


def test_a_message_given_up_is_an_error(make_settings) -> None:
    settings = make_settings("127.0.0.1:1")
    kafka = settings.kafka.model_copy(update={"producer_properties": {"message.timeout.ms": 100}})
    publisher = Publisher(settings.model_copy(update={"kafka": kafka}))
    for event in make_events(3):
        publisher.send(Topic.CLICKSTREAM, event.user_id, event)
    with pytest.raises(BrokerError, match=r"of 3 messages were not delivered, the first because: "):
        while publisher.flush(1.0):
            pass


def test_an_event_too_large_for_the_client_is_an_error(embedded_settings: Settings) -> None:
    create_topics(embedded_settings)
    (event,) = make_events(1)
    large = msgspec.structs.replace(event, text="x" * 2_000_000)
    with pytest.raises(BrokerError, match=r"does not take a message: .*too large"):
        replay(embedded_settings, [large])


def test_a_refused_property_is_a_settings_error(make_settings) -> None:
    settings = make_settings("127.0.0.1:1")
    kafka = settings.kafka.model_copy(update={"producer_properties": {"no.such.thing": "1"}})
    with pytest.raises(SettingsError, match=r"no\.such\.thing"):
        Publisher(settings.model_copy(update={"kafka": kafka}))


def test_a_message_of_the_wrong_type_is_refused_by_the_codec(make_settings) -> None:
    publisher = Publisher(make_settings("127.0.0.1:1"))
    wrong = ClickstreamEvent(
        event_id="e", user_id="u", type=EventType.VIEW, time=0, item_id=object()
    )
    with pytest.raises(CodecError, match="ClickstreamEvent"):
        publisher.send(Topic.CLICKSTREAM, "u", wrong)


def test_pseudonyms_are_a_keyed_hash() -> None:
    pseudonym = pseudonymiser(PrivacySettings(user_id_key="a long and secret key"))
    assert pseudonym is not None
    expected = hmac.new(b"a long and secret key", b"ann@example.org", hashlib.sha256).hexdigest()[
        :32
    ]
    assert pseudonym("ann@example.org") == expected
    other = pseudonymiser(PrivacySettings(user_id_key="another long secret key"))
    assert other is not None
    assert other("ann@example.org") != expected
    assert pseudonymiser(PrivacySettings()) is None
