"""Killed after any record that it publishes, a worker ends with what one learns that never was."""

from collections import Counter

import pytest
from recording_learner import Lesson, recording
from test_item_learning import as_read, blocks, follow, lessons
from worker_parts import Journal, Worker, event, messages

from schemas.clickstream import ClickstreamEvent, EventType
from schemas.settings import WorkerSettings
from worker.metrics import TransitionSource

PARTITIONS = 2
BATCH = 12
SETTINGS = WorkerSettings(top_k=5, recent_events=8)


class KilledError(Exception):
    """Takes the place of SIGKILL."""


class ShortLife(Journal):
    """What a worker leaves behind that dies after publishing so many records, or at a commit."""

    def __init__(self, records: int) -> None:
        super().__init__()
        self._left = records

    def publish(self, records) -> None:
        super().publish(records[: self._left])
        if len(records) > self._left:
            raise KilledError
        self._left -= len(records)

    def commit(self, next_offsets) -> None:
        if not self._left:
            raise KilledError
        self._left -= 1
        super().commit(next_offsets)


def clickstream() -> list[list[ClickstreamEvent]]:
    """Records by partition: users with several events each, some without evidence, some copies."""
    partitions = []
    for partition in range(PARTITIONS):
        kinds = [EventType.VIEW, EventType.CLICK, EventType.IMPRESSION, EventType.PURCHASE]
        events = [
            event(f"p{partition}u{n % 6}", n, f"i{n * 7 % 30}", type=kinds[n % 4])
            for n in range(85)
        ]
        events[30] = events[24]  # published twice
        partitions.append(events)
    return partitions


def work(worker: Worker) -> None:
    """Process the clickstream from the committed offsets to the end, partitions in turn."""
    stream = clickstream()
    for first in range(0, 85, BATCH // PARTITIONS):
        batch = []
        for partition, events in enumerate(stream):
            done = worker.journal.committed.get(partition, 0)
            chosen = slice(max(first, done), first + BATCH // PARTITIONS)
            batch += messages(events[chosen], chosen.start, partition)
        if batch:
            worker.processor.process(batch)


def reborn(left: Journal, lives_for: int) -> Worker:
    """Start a worker where another one died."""
    journal = ShortLife(lives_for)
    journal.records += left.records
    journal.committed |= left.committed
    worker = Worker(settings=SETTINGS, item_memory=recording(), journal=journal)
    follow(worker, as_read(journal, compacted=True), TransitionSource.RESTORED)
    for partition in range(PARTITIONS):
        states = [
            (r.key, r.value)
            for r in journal.records
            if r.topic == "user-state" and r.partition == partition
        ]
        worker.loader.load(states, partition, 1 << 40)
    return worker


def told(journal: Journal) -> dict[int, list[int]]:
    """Return by partition the offsets that compaction leaves in `item-transitions`, in order."""
    last = {(block.partition, block.block): block for block in blocks(journal)}
    offsets: dict[int, list[int]] = {n: [] for n in range(PARTITIONS)}
    for block in last.values():
        offsets[block.partition] += [e.offset for e in block.events]
    return offsets


@pytest.fixture(scope="module")
def undisturbed() -> Worker:
    worker = Worker(settings=SETTINGS, item_memory=recording())
    work(worker)
    return worker


def test_the_undisturbed_worker_learned_something(undisturbed):
    evidence = [
        [n for n, e in enumerate(events) if e.type is not EventType.IMPRESSION and n != 30]
        for events in clickstream()
    ]
    assert told(undisturbed.journal) == dict(enumerate(evidence))
    assert len(lessons(undisturbed)) == sum(map(len, evidence))


@pytest.mark.parametrize("lives_for", range(1, 36))
def test_killed_again_and_again_it_learns_each_event_once(undisturbed, lives_for):
    """Each life ends that many records on, so the deaths fall on every step of a micro-batch."""
    worker = reborn(Journal(), lives_for)
    deaths = 0
    while True:
        try:
            work(worker)
            break
        except KilledError:
            deaths += 1
            # A life too short to get past one micro-batch would never end.
            worker = reborn(worker.journal, lives_for + deaths)
    assert deaths > 1
    assert Counter(lessons(worker)) == Counter(lessons(undisturbed))
    assert told(worker.journal) == told(undisturbed.journal)
    follower = Worker(settings=SETTINGS, item_memory=recording())
    follow(follower, as_read(worker.journal))
    assert Counter(lessons(follower)) == Counter(lessons(undisturbed))
    assert_same_users(worker, undisturbed)


def assert_same_users(left: Worker, right: Worker) -> None:
    states = left.journal.states(), right.journal.states()
    assert states[0].keys() == states[1].keys()
    for user_id, state in states[0].items():
        twin = states[1][user_id]
        assert (state.offset, state.events_seen) == (twin.offset, twin.events_seen)
        assert state.recent == twin.recent


def test_the_lessons_name_items_only(undisturbed):
    for record in undisturbed.journal.records:
        if record.topic == "item-transitions":
            assert b"p0u" not in record.value and b"p1u" not in record.value
    assert all(isinstance(lesson, Lesson) for lesson in lessons(undisturbed))
