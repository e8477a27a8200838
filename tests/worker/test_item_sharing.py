"""The item memory on a broker: every worker ends with what all of them learned, each event once."""

import os
import random
import signal
from collections import Counter, defaultdict

import msgspec
import pytest
from confluent_kafka import Producer
from fake_model import FakeModel
from recording_learner import Lesson, Recorder
from running_worker import (
    PATIENCE_S,
    drain,
    make_topics,
    running,
    wait_until,
    with_kafka,
    with_worker,
)
from test_item_learning import GARBAGE
from test_service import catalogue_records, event_records, visits
from worker_parts import NOW_MS, event

from schemas.clickstream import EVENT_TYPE_INDEX, ClickstreamEvent, EventType
from schemas.codec import decode_transitions, encode_transitions
from schemas.errors import BrokerError
from schemas.item_transitions import LAYOUT_VERSION, ItemTransition, ItemTransitions
from schemas.topics import Topic
from worker.kafka_admin import create_topics
from worker.service import WorkerService


@pytest.fixture
def settings(broker_settings):
    """Settings for each broker in turn, with topics and a catalogue of forty items."""
    settings = with_worker(broker_settings)
    make_topics(settings)
    return settings


@pytest.fixture
def filled(settings, produce_all):
    produce_all(settings, Topic.CATALOG, catalogue_records(range(40)))
    return settings


def expected_lessons(events: list[ClickstreamEvent]) -> Counter[Lesson]:
    """Return what the events teach, by the rule as it is written down."""
    history = defaultdict(list)
    found = []
    for e in events:
        if e.type is not EventType.IMPRESSION:
            before = tuple(reversed(history[e.user_id][-5:]))
            found.append(Lesson(e.item_id, before, EVENT_TYPE_INDEX[e.type], e.time))
            history[e.user_id].append(e.item_id)
    return Counter(found)


def evidence_offsets(sent) -> dict[int, list[int]]:
    """Return by partition the offsets of the records that are evidence of liking an item."""
    offsets = defaultdict(list)
    for message in sent:
        if msgspec.json.decode(message.value(), type=ClickstreamEvent).type != "impression":
            offsets[message.partition()].append(message.offset())
    return {partition: sorted(numbers) for partition, numbers in offsets.items()}


def told_offsets(settings, consume_all) -> dict[int, list[int]]:
    """Return by partition the offsets that compaction would leave in `item-transitions`."""
    last = {m.key(): m for m in consume_all(settings, Topic.ITEM_TRANSITIONS)}
    offsets = defaultdict(list)
    for message in last.values():
        block = decode_transitions(message.value())
        assert block.partition == message.partition()
        offsets[block.partition] += [e.offset for e in block.events]
    return {partition: sorted(numbers) for partition, numbers in offsets.items()}


def learned(recorder: Recorder, events: list[ClickstreamEvent]) -> None:
    """Wait until a memory was taught as many lessons as there are, and check that it is they."""
    expected = expected_lessons(events)
    wait_until(
        lambda: len(recorder.lessons) >= expected.total(),
        f"{expected.total()} lessons learned",
    )
    assert Counter(recorder.lessons) == expected


def test_all_workers_learn_what_any_of_them_does(filled, produce_all, consume_all):
    events = visits(users=40, length=20, seed=5)
    pieces = [events[:250], events[250:500], events[500:]]
    memories = [Recorder(), Recorder(), Recorder()]
    sent = []
    with running(filled, item_memory=memories[0].source) as first:
        sent += produce_all(filled, Topic.CLICKSTREAM, event_records(pieces[0]))
        drain(filled)
        with running(filled, item_memory=memories[1].source) as second:
            # Warm before its first event.
            assert Counter(memories[1].lessons) == expected_lessons(pieces[0])
            wait_until(
                lambda: second.sample("innerloop_restore_seconds_count") > 0, "partitions moved"
            )
            sent += produce_all(filled, Topic.CLICKSTREAM, event_records(pieces[1]))
            drain(filled)
            for memory in memories[:2]:
                learned(memory, events[:500])
            for worker in (first, second):
                for source in ("own", "followed"):
                    assert worker.sample("innerloop_item_transitions_total", source=source) > 0
                assert worker.sample("innerloop_item_transitions_delay_seconds_count") > 0
        # The first one goes on with blocks that the second one left half full.
        sent += produce_all(filled, Topic.CLICKSTREAM, event_records(pieces[2]))
        drain(filled)
        learned(memories[0], events)
    assert told_offsets(filled, consume_all) == evidence_offsets(sent)
    with running(filled, item_memory=memories[2].source) as third:
        assert Counter(memories[2].lessons) == expected_lessons(events)
        total = third.sample("innerloop_item_transitions_total", source="restored")
        assert total == expected_lessons(events).total()
        assert third.sample("innerloop_item_memory_restore_seconds_count") == 1
        wait_until(
            lambda: third.sample("innerloop_item_transitions_lag_records", partition="0") == 0,
            "the lag told",
        )


def test_the_topic_keeps_a_ring_of_the_latest_blocks(filled, produce_all, consume_all):
    filled = with_worker(filled, item_memory_events=128)
    events = visits(users=40, length=20, seed=6)
    with running(filled, item_memory=Recorder().source):
        sent = produce_all(filled, Topic.CLICKSTREAM, event_records(events))
        drain(filled)
    told = told_offsets(filled, consume_all)
    everything = evidence_offsets(sent)
    assert told.keys() == everything.keys()
    assert any(len(everything[n]) > len(told[n]) for n in told), "no slot was used twice"
    for partition, offsets in told.items():
        oldest_block = everything[partition][-1] // 64 - 1
        kept = [offset for offset in everything[partition] if offset // 64 >= oldest_block]
        assert offsets == kept


def test_garbage_in_the_topic_stops_nobody(filled, produce_all):
    memory = Recorder()
    events = visits(users=10, length=10, seed=7)
    garbage = [("0/0", value) for value, _ in GARBAGE.values()]
    produce_all(filled, Topic.ITEM_TRANSITIONS, garbage)
    with running(filled, item_memory=memory.source) as worker:
        produce_all(filled, Topic.CLICKSTREAM, event_records(events[:50]))
        produce_all(filled, Topic.ITEM_TRANSITIONS, garbage)
        produce_all(filled, Topic.CLICKSTREAM, event_records(events[50:]))
        drain(filled)
        learned(memory, events)
        skipped = ("malformed", "other_version", "inconsistent")
        name = "innerloop_item_transition_records_total"
        wait_until(
            lambda: sum(worker.sample(name, result=r) for r in skipped) == 2 * len(garbage),
            "the garbage read",
        )


def test_transitions_ahead_of_a_clickstream_made_anew_hold_nothing_back(
    filled, produce_all, consume_all
):
    block = ItemTransitions(
        version=LAYOUT_VERSION,
        partition=1,
        block=100,
        events=[ItemTransition(6400, "i1", EventType.VIEW, NOW_MS - 10**9, ["i2"])],
    )
    produce_to(filled, Topic.ITEM_TRANSITIONS, 1, encode_transitions(block))
    memory = Recorder()
    events = visits(users=20, length=5, seed=8)
    with running(filled, item_memory=memory.source):
        produce_all(filled, Topic.CLICKSTREAM, event_records(events))
        drain(filled)
        old = Lesson("i1", ("i2",), 0, NOW_MS - 10**9)
        assert Counter(memory.lessons) == expected_lessons(events) + Counter([old])
    epochs = {
        (m.partition(), decode_transitions(m.value()).epoch)
        for m in consume_all(filled, Topic.ITEM_TRANSITIONS)
    }
    assert (1, 1) in epochs
    assert {epoch for partition, epoch in epochs if partition != 1} == {0}


def produce_to(settings, topic: Topic, partition: int, value: bytes) -> None:
    producer = Producer(settings.kafka.producer_config())
    producer.produce(settings.kafka.topic(topic), value, f"{partition}/100", partition=partition)
    assert producer.flush(30) == 0


def test_an_item_gone_is_forgotten_and_not_learned_again(filled, produce_all):
    memory, later = Recorder(), Recorder()
    events = [event("u", n, f"i{n}") for n in range(5)]
    with running(filled, item_memory=memory.source) as worker:
        produce_all(filled, Topic.CLICKSTREAM, event_records(events))
        drain(filled)
        produce_all(filled, Topic.CATALOG, [("i2", None)])
        wait_until(lambda: memory.forgotten == ["i2"], "the item forgotten")
        produce_all(filled, Topic.CLICKSTREAM, event_records([event("u", 5, "i5")]))
        drain(filled)
        assert memory.lessons[-1].before == ("i4", "i3", "i1", "i0")
        assert worker.sample("innerloop_item_transitions_dropped_total", reason="known") == 0
    with running(filled, item_memory=later.source) as worker:
        dropped = "innerloop_item_transitions_dropped_total"
        assert worker.sample(dropped, reason="unknown_item") == 1
    assert [(lesson.item, lesson.before) for lesson in later.lessons] == [
        ("i0", ()),
        ("i1", ("i0",)),
        ("i3", ("i1", "i0")),
        ("i4", ("i3", "i1", "i0")),
        ("i5", ("i4", "i3", "i1", "i0")),
    ]


def test_switched_off_it_neither_learns_nor_tells(filled, produce_all, consume_all):
    memory = Recorder()
    off = with_worker(filled, item_memory=False)
    with running(off, item_memory=memory.source):
        produce_all(off, Topic.CLICKSTREAM, event_records(visits(users=5, length=4)))
        drain(off)
    assert memory.lessons == []
    assert consume_all(off, Topic.ITEM_TRANSITIONS) == []


def test_the_topic_is_needed_where_there_is_an_item_memory(kafka_settings, produce_all):
    settings = with_worker(kafka_settings)
    create_topics(settings, [topic for topic in Topic if topic is not Topic.ITEM_TRANSITIONS])
    with pytest.raises(BrokerError, match="item-transitions does not exist; run `innerloop topics"):
        WorkerService(settings, FakeModel(), item_memory=Recorder().source).run()
    produce_all(settings, Topic.CLICKSTREAM, event_records([event("u", 0)]))
    with running(settings):
        drain(settings)
    off = with_worker(settings, item_memory=False)
    produce_all(settings, Topic.CLICKSTREAM, event_records([event("u", 1)]))
    with running(off, item_memory=Recorder().source):
        drain(off)


@pytest.fixture
def static(kafka_settings):
    # A member that was killed keeps its partitions until its session is over, unless the one that
    # follows goes by the same instance id.
    by_id = {"group.instance.id": "the-only-worker"}
    return with_kafka(with_worker(kafka_settings), consumer_properties=by_id)


@pytest.mark.slow
def test_killed_at_every_point_it_has_learned_each_event_once(
    static, produce_all, consume_all, start, tmp_path
):
    make_topics(static)
    produce_all(static, Topic.CATALOG, catalogue_records(range(40)))
    events = visits(users=120, length=25, seed=12)
    sent = produce_all(static, Topic.CLICKSTREAM, event_records(events))
    draw = random.Random(3)
    file = tmp_path / "lessons.json"
    points = ("recommendations", "some transitions", "transitions", "some states", "states")
    for point in (*points, "commit"):
        killed = start(static, "--lessons", file, "--die", point, draw.randint(2, 4))
        assert killed.wait(PATIENCE_S) == -signal.SIGKILL, point
    last = start(static, "--lessons", file)
    drain(static, 2 * PATIENCE_S)
    last.terminate()
    assert last.wait(PATIENCE_S) == 0
    lessons = [
        Lesson(item, tuple(before), kind, time)
        for item, before, kind, time in msgspec.json.decode(file.read_bytes())
    ]
    assert Counter(lessons) == expected_lessons(events)
    assert told_offsets(static, consume_all) == evidence_offsets(sent)
    anew = Recorder()
    with running(static, item_memory=anew.source):
        assert Counter(anew.lessons) == expected_lessons(events)


@pytest.mark.slow
@pytest.mark.parametrize("point", ["some transitions", "transitions"])
def test_a_survivor_goes_on_where_a_killed_worker_left_off(
    kafka_settings, produce_all, consume_all, start, point
):
    settings = with_worker(kafka_settings, batch_events=16)
    make_topics(settings)
    produce_all(settings, Topic.CATALOG, catalogue_records(range(40)))
    events = visits(users=60, length=25, seed=13)
    memory = Recorder()
    sent = []
    with running(settings, item_memory=memory.source) as survivor:
        sent += produce_all(settings, Topic.CLICKSTREAM, event_records(events[:300]))
        drain(settings)
        killed = start(settings, "--lessons", os.devnull, "--die", point, 6)
        wait_until(
            lambda: survivor.sample("innerloop_rebalanced_partitions_total", how="revoked") > 0,
            "partitions moved",
        )
        for n in range(300, len(events), 100):
            sent += produce_all(settings, Topic.CLICKSTREAM, event_records(events[n : n + 100]))
        assert killed.wait(PATIENCE_S) == -signal.SIGKILL
        drain(settings, 2 * PATIENCE_S)
        learned(memory, events)
        assert survivor.sample("innerloop_item_transitions_total", source="followed") > 0
    assert told_offsets(settings, consume_all) == evidence_offsets(sent)
