"""A flood of dead letters stops the worker before they are published."""

import msgspec
import pytest
from running_worker import RunningWorker, drain, make_topics, running, with_worker
from worker_parts import Worker, event, item, message, messages

from schemas.settings import WorkerSettings
from schemas.topics import Topic
from worker.stages.dead_letter_limits import DeadLetterFloodError, DeadLetterLimits
from worker.stages.decode import DeadLetter

encode = msgspec.json.encode


class _Reason:
    value = "malformed"


def batch(pattern: str, first: int = 0, partition: int = 0):
    """Records and the dead letters among them: `x` is unusable, `.` is not."""
    records = [message(b"v", b"k", first + n, partition) for n in range(len(pattern))]
    dead = [
        DeadLetter(record, _Reason(), "E", "not JSON")
        for record, mark in zip(records, pattern, strict=True)
        if mark == "x"
    ]
    return records, dead


def limits(**changes) -> DeadLetterLimits:
    return DeadLetterLimits(**{"window": 10, "ratio": 1.0, "consecutive": 1000, **changes})


def test_a_run_stops_at_the_limit_and_goes_on_over_micro_batches():
    watch = limits(consecutive=4)
    watch.check(*batch("xxx.xxx"))
    with pytest.raises(DeadLetterFloodError, match=r"4 in a row in partition 0 \(worker\.dead_l"):
        watch.check(*batch("x", first=7))


def test_runs_are_counted_by_partition():
    watch = limits(consecutive=4)
    watch.check(*batch("xxx"))
    watch.check(*batch("..", partition=1))  # does not end the run of partition 0
    watch.check(*batch("xxx", partition=1, first=2))
    with pytest.raises(DeadLetterFloodError, match="partition 0"):
        watch.check(*batch("x", first=3))


def test_the_share_goes_over_the_window():
    watch = limits(ratio=0.5)
    watch.check(*batch("x.x.x.x.x."))
    watch.check(*batch("x." * 10, first=10))
    with pytest.raises(DeadLetterFloodError, match=r"6 of the latest 10 .*ratio 0\.5.*6 malformed"):
        watch.check(*batch("x.x.x.x.xx", first=30))


def test_records_not_seen_yet_count_as_usable():
    watch = limits(ratio=0.5)
    watch.check(*batch("xxxxx"))
    with pytest.raises(DeadLetterFloodError):
        watch.check(*batch("x", first=5))


def test_old_ones_leave_the_window():
    watch = limits(ratio=0.5)
    for first in range(0, 100, 10):
        watch.check(*batch("xxxxx.....", first=first))


def test_a_share_of_one_never_stops():
    watch = limits(ratio=1.0)
    watch.check(*batch("x" * 500))


def test_nothing_of_the_flood_is_published():
    settings = WorkerSettings(top_k=5, recent_events=8)
    worker = Worker(settings=settings)
    worker.processor._limits = limits(consecutive=3)
    worker.process([event("u", 0)])
    steps = list(worker.journal.steps)
    flood = [message(b"{", b"u", n) for n in range(1, 4)]
    with pytest.raises(DeadLetterFloodError, match=r"clickstream cannot be used.*Mend"):
        worker.processor.process([*messages([event("u", 1)], 10), *flood])
    assert worker.journal.steps == steps
    assert worker.journal.committed == {0: 1}


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_the_worker_stops_and_stops_again_until_the_limit_is_raised(
    delivery, kafka_settings, produce_all, consume_all
):
    settings = with_worker(kafka_settings, dead_letter_consecutive=20, delivery=delivery)
    make_topics(settings)
    produce_all(settings, Topic.CATALOG, [("i1", encode(item(1)))])
    good = [("u", encode(event("u", n))) for n in range(5)]
    produce_all(settings, Topic.CLICKSTREAM, good)
    with running(settings):
        drain(settings)
    produce_all(settings, Topic.CLICKSTREAM, [("u", b"{")] * 30)
    for _ in range(2):
        worker = RunningWorker(settings)
        worker.start()
        with pytest.raises(DeadLetterFloodError, match="dead_letter_consecutive"):
            worker.result()
    assert len(consume_all(settings, Topic.RECOMMENDATIONS)) == 5
    assert consume_all(settings, Topic.DEAD_LETTERS) == []
    raised = with_worker(settings, dead_letter_consecutive=100, delivery=delivery)
    with running(raised):
        drain(raised)
    assert len(consume_all(settings, Topic.DEAD_LETTERS)) == 30
