"""Events on items that training never saw, counted by hand."""

import numpy as np
import pytest

from worker.data import EventLog
from worker.evaluation.new_items import NewItemEvents, chance
from worker.split import TimeCut


def log(items: list[int], users: list[int], start: int) -> EventLog:
    n = len(items)
    return EventLog(
        np.array(users, np.int32),
        np.array(items, np.int32),
        np.zeros(n, np.int8),
        start + np.arange(n, dtype=np.int64),
        ["a", "b", "c"],
    )


def test_unseen_items_and_first_events_on_them() -> None:
    # Item 5 is new; its first event is by user a, who is not scored. Item 6's first is scored.
    stream = log([5, 5, 1, 6, 6], [0, 1, 1, 1, 2], start=100)
    scored = np.array([False, True, True, True, True])
    cut = TimeCut(99, log([1, 2], [0, 0], start=0), stream, scored, np.zeros(5, np.int32))
    found = NewItemEvents(cut, scored).quality(np.array([0, 3, 19, 20], np.int32))
    assert found.unseen.n == 3
    assert found.unseen.hit_rate == pytest.approx(2 / 3)
    assert found.unseen.reciprocal_rank == pytest.approx((1 + 1 / 20) / 3)
    assert found.first_event.n == 1
    assert found.first_event.hit_rate == 1.0
    assert found.first_event.reciprocal_rank == pytest.approx(1 / 20)


def test_chance_is_the_mean_over_all_ranks() -> None:
    ranks = np.arange(50)
    assert chance(50).hit_rate == pytest.approx((ranks < 20).mean())
    reciprocal = np.where(ranks < 20, 1 / (ranks + 1), 0.0)
    assert chance(50).reciprocal_rank == pytest.approx(reciprocal.mean())
    assert chance(7).hit_rate == 1.0
