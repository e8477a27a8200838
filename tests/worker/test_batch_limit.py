"""Micro-batches are as large as the latency target allows, and larger where it is missed anyway."""

import pytest

from worker.stages.batch_limit import BatchLimit, Pace


def after(limit: BatchLimit, *, records: int, seconds: float, waiting: int, times: int = 40) -> int:
    for _ in range(times):
        limit.processed(records, seconds, waiting)
    return limit.records


def test_before_anything_is_known_the_largest_is_allowed():
    assert BatchLimit(512, 0.05).records == 512


@pytest.mark.parametrize(("us", "expected"), [(100, 250), (1000, 25), (10, 512), (50_000, 16)])
def test_two_micro_batches_fit_into_the_target(us, expected):
    limit = BatchLimit(512, 0.05)
    assert after(limit, records=64, seconds=64e-6 * us, waiting=0) == expected


def test_where_more_wait_than_the_target_allows_the_largest_are_taken():
    limit = BatchLimit(512, 0.05)
    assert after(limit, records=64, seconds=0.064, waiting=40) == 25
    assert after(limit, records=64, seconds=0.064, waiting=60, times=1) == 512
    assert after(limit, records=64, seconds=0.064, waiting=0, times=1) == 25


def test_it_follows_a_machine_that_slows_down():
    limit = BatchLimit(512, 0.05)
    fast = after(limit, records=64, seconds=0.0064, waiting=0)
    slow = after(limit, records=64, seconds=0.032, waiting=0)
    assert (fast, slow) == (250, 50)


def test_the_most_is_never_exceeded():
    assert after(BatchLimit(8, 10.0), records=8, seconds=0.0001, waiting=10_000) == 8


def test_micro_batches_begin_apart_and_after_a_pause_at_once():
    now = 100.0
    pace = Pace(0.01, lambda: now)
    assert pace.wait_s() == 0.0
    pace.begin()
    assert pace.wait_s() == pytest.approx(0.01)
    now += 0.004
    assert pace.wait_s() == pytest.approx(0.006)
    now += 5.0
    assert pace.wait_s() == 0.0
