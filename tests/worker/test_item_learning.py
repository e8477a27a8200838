"""What the item memory learns of the stream, and what the other workers are told of it."""

import logging
from collections import Counter

import msgspec
import numpy as np
import pytest
from confluent_kafka import Message
from recording_learner import Lesson, recording
from worker_parts import NOW_MS, Journal, Worker, event, item, messages

from schemas.clickstream import EVENT_TYPE_INDEX, EventType
from schemas.codec import decode_transitions
from schemas.item_transitions import LAYOUT_VERSION, ItemTransition, ItemTransitions
from schemas.settings import WorkerSettings
from worker.catalogue import ItemChange
from worker.metrics import TransitionSource
from worker.stages.decode import pick

DAY_MS = 86_400_000


def a_worker(since_ms: int = -1, **settings) -> Worker:
    chosen = WorkerSettings(top_k=5, recent_events=settings.pop("recent_events", 8), **settings)
    return Worker(settings=chosen, item_memory=recording(since_ms))


def lessons(worker: Worker) -> list[Lesson]:
    return worker.item_learning.learner.lessons


def blocks(journal: Journal) -> list[ItemTransitions]:
    return [decode_transitions(value) for value in journal.values("item-transitions")]


def as_read(journal: Journal, *, compacted: bool = False) -> list[Message]:
    """Return the records of `item-transitions` as a reader meets them."""
    records = [r for r in journal.records if r.topic == "item-transitions"]
    if compacted:
        last = {record.key: n for n, record in enumerate(records)}
        records = [records[n] for n in sorted(last.values())]
    return [transition_record(r.value, r.partition, r.key) for r in records]


def transition_record(value: bytes | None, partition: int = 0, key: bytes = b"0/0") -> Message:
    return Message(
        topic="item-transitions",
        partition=partition,
        offset=7,
        key=key,
        value=value,
        timestamp=(1, NOW_MS - 1500),
    )


def follow(worker: Worker, messages: list[Message], source=TransitionSource.FOLLOWED) -> None:
    worker.item_learning.follow(messages, source)


def test_it_learns_each_item_with_those_that_the_user_acted_on_before():
    worker = a_worker()
    kinds = [EventType.VIEW, EventType.ADD_TO_CART, EventType.PURCHASE, EventType.CLICK]
    events = [event("u", n, f"i{n}", type=kinds[n % 4]) for n in range(8)]
    worker.process([*events, event("v", 0, "i3")])
    expected = [
        Lesson(
            e.item_id,
            tuple(f"i{m}" for m in range(n - 1, max(-1, n - 6), -1)),
            EVENT_TYPE_INDEX[e.type],
            e.time,
        )
        for n, e in enumerate(events)
    ]
    assert lessons(worker) == [*expected, Lesson("i3", (), 0, event("v", 0).time)]
    assert worker.sample("innerloop_item_transitions_total", source="own") == 9


def test_what_is_no_evidence_for_an_item_teaches_nothing():
    worker = a_worker()
    worker.process(
        [
            event("u", 0, "i1"),
            event("u", 1, "i2", type=EventType.IMPRESSION),
            event("u", 2, "i1", type=EventType.REMOVE_FROM_CART),
            event("u", 3, None, type=EventType.SEARCH, query="thing"),
            event("u", 4, "i999"),
            event("u", 5, "i3"),
        ]
    )
    assert [(lesson.item, lesson.before) for lesson in lessons(worker)] == [
        ("i1", ()),
        ("i3", ("i1",)),
    ]
    (block,) = blocks(worker.journal)
    assert [e.offset for e in block.events] == [0, 5]


@pytest.mark.parametrize("recent_events", [1, 3])
def test_a_user_of_whom_little_is_kept_has_little_before(recent_events):
    worker = a_worker(recent_events=recent_events)
    worker.process([event("u", n, f"i{n}") for n in range(5)])
    assert lessons(worker)[-1].before == ("i3", "i2")[: recent_events - 1]


def test_it_is_told_after_the_answers_and_before_the_states():
    worker = a_worker()
    worker.process([event("u", n, f"i{n}") for n in range(3)])
    assert worker.journal.steps == [
        ("recommendations", 3),
        ("item-transitions", 1),
        ("user-state", 1),
        ("commit", 1),
    ]


def test_without_an_item_memory_nothing_is_told():
    worker = Worker()
    worker.process([event("u", n, f"i{n}") for n in range(3)])
    assert [topic for topic, _ in worker.journal.steps] == [
        "recommendations",
        "user-state",
        "commit",
    ]


def test_a_block_is_rewritten_until_it_is_full():
    worker = a_worker()
    events = [event(f"u{n % 5}", n, f"i{n % 30}") for n in range(150)]
    for first in range(0, 150, 50):
        worker.process(events[first : first + 50], first_offset=first, partition=2)
    records = [r for r in worker.journal.records if r.topic == "item-transitions"]
    assert [r.key for r in records] == [b"2/0", b"2/0", b"2/1", b"2/1", b"2/2"]
    assert {r.partition for r in records} == {2}
    held = [(b.block, b.events[0].offset, b.events[-1].offset) for b in blocks(worker.journal)]
    assert held == [(0, 0, 49), (0, 0, 63), (1, 64, 99), (1, 64, 127), (2, 128, 149)]
    size = sum(len(r.key) + len(r.value) for r in records)
    assert worker.sample("innerloop_item_transitions_published_bytes_total") == size


def test_another_worker_learns_the_same_and_each_event_once():
    worker, other = a_worker(), a_worker()
    events = [event(f"u{n % 7}", n, f"i{n * n % 30}") for n in range(200)]
    for first in range(0, 200, 23):
        worker.process(events[first : first + 23], first_offset=first)
        follow(other, as_read(worker.journal))  # all of it, again and again
    assert lessons(other) == lessons(worker)
    assert len(lessons(other)) == 200
    assert other.sample("innerloop_item_transitions_total", source="followed") == 200
    assert other.sample("innerloop_item_transition_records_total", result="known") > 20
    observed = other.sample("innerloop_item_transition_records_total", result="new")
    assert other.sample("innerloop_item_transitions_delay_seconds_count") == observed
    follow(worker, as_read(worker.journal))  # its own
    assert len(lessons(worker)) == 200


def test_a_worker_that_begins_later_learns_what_compaction_left():
    worker = a_worker(item_memory_events=128)  # a ring of two blocks
    events = [event(f"u{n % 7}", n, f"i{n % 30}") for n in range(500)]
    for first in range(0, 500, 40):
        worker.process(events[first : first + 40], first_offset=first)
    left = as_read(worker.journal, compacted=True)
    assert [message.key() for message in left] == [b"0/0", b"0/1"]
    later = a_worker(item_memory_events=128)
    follow(later, left, TransitionSource.RESTORED)
    assert lessons(later) == lessons(worker)[384:]
    assert later.sample("innerloop_item_transitions_total", source="restored") == 116
    assert later.log.last_offset(0) == 499


def test_a_partition_is_gone_on_with_in_the_middle_of_a_block():
    first, second, undisturbed = a_worker(), a_worker(), a_worker()
    events = [event(f"u{n}", 0, f"i{n % 30}") for n in range(100)]
    first.process(events[:40])
    follow(second, as_read(first.journal))
    second.process(events[40:], first_offset=40)
    follow(first, as_read(second.journal))
    undisturbed.process(events)
    assert blocks(second.journal) == blocks(undisturbed.journal)
    assert lessons(first) == lessons(second) == lessons(undisturbed)


def test_two_owners_at_a_time_teach_no_event_twice():
    """A worker that lost its partition unnoticed goes on for one batch; see docs/worker.md."""
    old, new, third = a_worker(), a_worker(), a_worker()
    events = [event(f"u{n}", 0, f"i{n % 30}") for n in range(60)]
    old.process(events[:20])
    follow(new, as_read(old.journal))
    told_before = len(as_read(old.journal))
    old.process(events[20:30], first_offset=20)  # it has lost the partition
    late = as_read(old.journal)[told_before:]
    new.process(events[20:25], first_offset=20)
    follow(new, late)
    new.process(events[25:60], first_offset=25)
    assert new.sample("innerloop_item_transitions_dropped_total", reason="known") == 5
    follow(third, [*as_read(old.journal), *as_read(new.journal)])
    expected = Counter(e.item_id for e in events)
    for worker in (new, third):
        assert Counter(lesson.item for lesson in lessons(worker)) == expected
    assert [e.offset for e in blocks(new.journal)[-1].events] == list(range(60))


def test_what_is_in_the_bundles_own_memory_is_told_but_not_learned_again():
    events = [event(f"u{n}", 0, f"i{n % 30}", time=NOW_MS - DAY_MS + n) for n in range(10)]
    worker = a_worker(since_ms=events[3].time)
    worker.process(events)
    assert [lesson.time for lesson in lessons(worker)] == [e.time for e in events[4:]]
    assert worker.sample("innerloop_item_transitions_dropped_total", reason="in_bundle") == 4
    with_older_bundle = a_worker(since_ms=events[1].time)
    follow(with_older_bundle, as_read(worker.journal))
    assert [lesson.time for lesson in lessons(with_older_bundle)] == [e.time for e in events[2:]]


def test_items_that_the_catalogue_does_not_hold_are_left_out():
    worker = a_worker()
    worker.process([event("u", n, f"i{n}") for n in range(6)])
    other = a_worker()
    other.catalogue.apply([ItemChange(f"i{n}", None) for n in (1, 4)])
    assert other.item_learning.learner.forgotten == ["i1", "i4"]
    follow(other, as_read(worker.journal))
    assert [(lesson.item, lesson.before) for lesson in lessons(other)] == [
        ("i0", ()),
        ("i2", ("i0",)),
        ("i3", ("i2", "i0")),
        ("i5", ("i3", "i2", "i0")),
    ]
    assert other.sample("innerloop_item_transitions_dropped_total", reason="unknown_item") == 2


def test_an_item_removed_in_between_is_not_learned_of_by_its_own_worker_either():
    worker, other = a_worker(), a_worker()
    worker.process([event("u", n, f"i{n}") for n in range(4)])
    worker.catalogue.apply([ItemChange("i2", None)])
    worker.process([event("u", n, f"i{n}") for n in range(4, 6)], first_offset=4)
    assert worker.item_learning.learner.forgotten == ["i2"]
    assert [lesson.before for lesson in lessons(worker)[4:]] == [
        ("i3", "i1", "i0"),
        ("i4", "i3", "i1", "i0"),
    ]
    other.catalogue.apply([ItemChange("i2", None)])
    follow(other, as_read(worker.journal))
    assert lessons(other)[-2:] == lessons(worker)[-2:]
    # The same row again: it is not gone any more.
    worker.catalogue.apply([ItemChange("i2", item(2))])
    worker.process([event("u", 6, "i6")], first_offset=6)
    assert lessons(worker)[-1].before == ("i5", "i4", "i3", "i2", "i1")


def a_block(**changes) -> ItemTransitions:
    events = [
        ItemTransition(n, f"i{n}", EventType.VIEW, NOW_MS - DAY_MS + n, [f"i{n + 1}"])
        for n in (1, 3, 4)
    ]
    block = ItemTransitions(version=LAYOUT_VERSION, partition=0, block=0, events=events)
    return msgspec.structs.replace(block, **changes)


def encoded(**changes) -> bytes:
    return msgspec.json.encode(a_block(**changes))


MOVED = [msgspec.structs.replace(e, offset=e.offset + 64) for e in a_block().events]
GARBAGE = {
    "nothing": (None, "malformed"),
    "empty": (b"", "malformed"),
    "bytes": (b"\xff\x00\x07", "malformed"),
    "no object": (b"[1,2]", "malformed"),
    "cut short": (encoded()[:-9], "malformed"),
    "a number for an id": (encoded().replace(b'"i3"', b"3"), "malformed"),
    "an unknown type": (encoded().replace(b'"view"', b'"stare"'), "malformed"),
    "nested": (b'{"version":' + b"[" * 5000, "malformed"),
    "another layout": (b'{"version":2,"columns":{}}', "other_version"),
    "an older layout": (encoded(version=0), "other_version"),
    "another partition": (encoded(partition=99), "inconsistent"),
    "another block": (encoded(events=MOVED), "inconsistent"),
    "descending": (encoded(events=a_block().events[::-1]), "inconsistent"),
    "twice the same": (encoded(events=a_block().events[:1] * 2), "inconsistent"),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_a_record_that_cannot_be_used_is_skipped_counted_and_named(what, caplog):
    value, result = GARBAGE[what]
    worker = a_worker()
    good = [transition_record(encoded()), transition_record(encoded(block=1, events=MOVED))]
    with caplog.at_level(logging.WARNING):
        follow(worker, [good[0], transition_record(value), good[1]])
    assert [lesson.item for lesson in lessons(worker)] == ["i1", "i3", "i4"] * 2
    assert worker.sample("innerloop_item_transition_records_total", result=result) == 1
    assert worker.sample("innerloop_item_transition_records_total", result="new") == 2
    assert len(caplog.records) == 1 and "offset 7" in caplog.text
    assert "i3" not in caplog.text


def test_a_flood_of_garbage_does_not_flood_the_log(caplog):
    worker = a_worker()
    with caplog.at_level(logging.WARNING):
        follow(worker, [transition_record(b"{")] * 1000)
    assert len(caplog.records) < 10
    assert worker.sample("innerloop_item_transition_records_total", result="malformed") == 1000


def test_a_block_without_events_is_harmless():
    worker = a_worker()
    follow(worker, [transition_record(encoded(events=[]))])
    assert lessons(worker) == []
    assert worker.sample("innerloop_item_transition_records_total", result="known") == 1


def test_events_of_another_age_are_not_learned():
    """One event of the far future would make all others of no weight, for weights decay by time."""
    worker = a_worker(max_future_seconds=3600)
    times = [NOW_MS + 3_600_000, NOW_MS + 3_600_001, 2**63 - 1]
    events = [ItemTransition(n, "i1", EventType.VIEW, time, []) for n, time in enumerate(times)]
    follow(worker, [transition_record(encoded(events=events))])
    assert [lesson.time for lesson in lessons(worker)] == times[:1]
    dropped = worker.sample("innerloop_item_transitions_dropped_total", reason="time_out_of_range")
    assert dropped == 2


def test_more_items_before_than_this_worker_uses_are_cut():
    worker = a_worker()
    long = [ItemTransition(0, "i0", EventType.VIEW, NOW_MS, [f"i{n}" for n in range(1, 20)])]
    follow(worker, [transition_record(encoded(events=long))])
    assert lessons(worker)[0].before == ("i1", "i2", "i3", "i4", "i5")


def test_a_clickstream_made_anew_is_learned_by_all_from_its_beginning():
    worker, other, later = a_worker(), a_worker(), a_worker()
    worker.process([event(f"u{n}", 0, f"i{n % 30}") for n in range(200)])
    follow(other, as_read(worker.journal))
    worker.log.restart(0)
    again = [event(f"v{n}", 0, f"i{n % 30}") for n in range(100)]
    worker.process(again[:70])
    follow(other, as_read(worker.journal))
    other.process(again[70:], first_offset=70)  # the partition moves, and its epoch with it
    follow(worker, as_read(other.journal))
    follow(later, [*as_read(worker.journal), *as_read(other.journal)], TransitionSource.RESTORED)
    assert len(lessons(worker)) == len(lessons(other)) == len(lessons(later)) == 300
    assert [b.epoch for b in blocks(worker.journal)] == [0] * 4 + [1] * 2
    assert [b.epoch for b in blocks(other.journal)] == [1]
    # What is left of the epoch before, in slots not yet overwritten, brings nothing back.
    follow(later, as_read(worker.journal)[:4])
    assert len(lessons(later)) == 300


def test_the_parts_of_a_micro_batch_may_come_in_any_order():
    events = [event(f"u{n % 3}", n, f"i{n}") for n in range(12)]
    whole, parts = a_worker(), a_worker()
    whole.process(events)
    batch = messages(events)
    decoded = parts.processor._decoder.decode(batch).events
    for user in ("u2", "u0", "u1"):
        chosen = [i for i, user_id in enumerate(decoded.user_ids) if user_id == user]
        parts.pipeline.process(pick(decoded, np.array(chosen)))
    parts.journal.publish(parts.item_learning.records())
    assert blocks(parts.journal) == blocks(whole.journal)
    assert sorted(lessons(parts)) == sorted(lessons(whole))
    # Told to others, and so known, from now on.
    parts.process(events)
    assert sorted(lessons(parts)) == sorted(lessons(whole))
