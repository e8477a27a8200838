"""Before a partition is processed, all that its last owner told is known."""

import threading

import pytest
from recording_learner import Recorder
from running_worker import make_topics
from test_item_learning import a_block
from worker_parts import Worker

from schemas.codec import encode_transitions
from schemas.topics import Topic
from worker.clients import make_reader
from worker.item_sharing.sharing import share
from worker.micro_batch import wall_clock_ms
from worker.restore.take_over import TakeOver


@pytest.fixture
def worker(broker_settings):
    """A worker's shared item memory on each broker in turn, level with an empty topic."""
    make_topics(broker_settings)
    parts = Worker()
    reader = make_reader(broker_settings, Topic.ITEM_TRANSITIONS, wait_ms=10)
    recorder = Recorder()
    parts.shared = share(
        recorder.source,
        reader,
        parts.catalogue,
        parts.metrics,
        settings=broker_settings,
        partitions=3,
        now_ms=wall_clock_ms,
    )
    parts.recorder = recorder
    parts.shared.start(threading.Event())
    yield parts
    reader.close()


def test_an_assigned_partition_is_ready_when_read_to_its_end_of_that_time(
    worker, broker_settings, produce_all
):
    follower = worker.shared.follower
    assert not follower.pending
    for life in range(3):  # ends reached before say nothing of records since
        block = a_block(block=0, epoch=life)
        records = [(f"{n}/0", encode_transitions(block)) for n in range(30)]
        sent = produce_all(broker_settings, Topic.ITEM_TRANSITIONS, records)
        partition_zero = [m for m in sent if m.partition() == 0]
        assert partition_zero, "nothing in the partition that the block is of"
        follower.begin([0])
        ready: list[int] = []
        while not ready:
            assert follower.pending
            ready = follower.step()
        assert ready == [0] and not follower.pending
        assert len(worker.recorder.lessons) == 3 * (life + 1)


def test_abandoned_partitions_are_followed_but_never_ready(worker, broker_settings, produce_all):
    follower = worker.shared.follower
    follower.begin([0, 1])
    follower.abandon([0])
    assert follower.pending
    assert follower.step() == [1]
    assert not follower.pending and follower.step() == []


class Slow:
    """Needs so many steps for each partition."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.left: dict[int, int] = {}

    @property
    def pending(self) -> bool:
        return bool(self.left)

    def begin(self, partitions) -> None:
        self.left.update(dict.fromkeys(partitions, self.steps))

    def abandon(self, partitions) -> None:
        for partition in partitions:
            self.left.pop(partition, None)

    def step(self) -> list[int]:
        self.left = {partition: n - 1 for partition, n in self.left.items()}
        done = [partition for partition, n in self.left.items() if not n]
        self.abandon(done)
        return done


@pytest.mark.parametrize("steps", [(1, 3), (3, 1), (2, 2)])
def test_a_partition_is_taken_over_when_every_part_of_it_is_there(steps):
    take_over = TakeOver([Slow(n) for n in steps])
    assert not take_over.pending
    take_over.begin([4, 7])
    assert [take_over.step() for _ in range(max(steps) - 1)] == [[]] * (max(steps) - 1)
    take_over.begin([2])
    assert sorted(take_over.step()) == [4, 7]
    assert take_over.pending
    take_over.abandon([2])
    assert not take_over.pending
    take_over.begin([2])  # it comes back: from the beginning
    for _ in range(max(steps) - 1):
        assert take_over.step() == []
    assert take_over.step() == [2]
