"""Recency-weighted popularity, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from event_logs import N_ITEMS, all_of, make_log, pairs
from hypothesis import given

from worker.evaluation.baselines import Popularity
from worker.evaluation.baselines.popularity import DecayedCounts


def static_counts(log, half_life_ms):
    return DecayedCounts(log, 4, half_life_ms, online=False).scores(0, 0).tolist()


def test_an_event_one_half_life_old_counts_half():
    log = make_log([(0, 1), (1, 1), (0, 2)], times=[0, 10, 20])
    assert static_counts(log, half_life_ms=10.0) == [0.0, 0.75, 1.0, 0.0]


def test_an_infinite_half_life_counts_every_event_alike():
    log = make_log([(0, 1), (1, 1), (0, 2)], times=[0, 10, 20])
    assert static_counts(log, half_life_ms=math.inf) == [0.0, 2.0, 1.0, 0.0]


def test_recent_events_decide_the_order():
    train = make_log([(0, 1), (1, 1), (0, 2)], times=[0, 10, 20])
    stream = make_log([(2, 2), (2, 1), (2, 0), (2, 3)], times=[30, 31, 32, 33])

    def ranks(half_life_ms):
        method = Popularity(half_life_ms=half_life_ms)
        return method.prequential_ranks(train, stream, all_of(stream), 4).tolist()

    assert ranks(10.0) == [0, 1, 2, 3]
    assert ranks(math.inf) == [1, 0, 2, 3]


def test_the_list_stays_as_it_stands_at_the_cut():
    train = make_log([(0, 1), (1, 1), (0, 2)])
    stream = make_log([(2, 3)] * 5)
    ranks = Popularity(half_life_ms=math.inf).prequential_ranks(train, stream, all_of(stream), 4)
    assert ranks.tolist() == [3] * 5


def test_online_counts_go_on_from_those_of_training():
    train = make_log([(0, 1), (1, 1), (0, 2)], times=[0, 10, 20])
    stream = make_log([(2, 3), (2, 3), (2, 0)], times=[30, 40, 50])
    scorer = DecayedCounts(train, 4, half_life_ms=10.0, online=True)
    for user, item, time in zip(stream.users, stream.items, stream.times, strict=True):
        scorer.learn(int(user), int(item), int(time))
    # As of time 20, in which an event at 30 counts double.
    assert scorer.scores(0, 60).tolist() == [8.0, 0.75, 1.0, 6.0]


def test_counts_stay_finite_over_any_number_of_half_lives():
    log = make_log([(0, 1), (0, 2)], times=[0, 1])
    scorer = DecayedCounts(log, 4, half_life_ms=1.0, online=True)
    for time in range(100, 100_000, 300):
        scorer.learn(0, 3, time)
        assert np.isfinite(scorer.scores(0, time)).all()
    scorer.learn(0, 2, 99_999)
    scores = scorer.scores(0, 99_999)
    assert scores[2] > scores[3] > scores[1] >= 0


def ranks_by_definition(train, stream, half_life_ms, online):
    """Every count afresh for every event; integer times, so exact up to the powers of two."""
    popularity = [sum(item == other for _, other, _ in train) for item in range(N_ITEMS)]
    events = [*train, *stream]
    ranks = []
    for now in range(len(train), len(events)):
        counted = events[: now if online else len(train)]
        latest = max((time for *_, time in counted), default=0)
        scores = [
            sum(
                2.0 ** (-(latest - time) / half_life_ms) for _, other, time in counted if other == i
            )
            for i in range(N_ITEMS)
        ]
        order = sorted(range(N_ITEMS), key=lambda i: (-round(scores[i], 12), -popularity[i], i))
        ranks.append(order.index(events[now][1]))
    return ranks


@pytest.mark.parametrize("online", [False, True])
@pytest.mark.parametrize("half_life_ms", [3.0, math.inf])
@given(train=pairs(), stream=pairs(max_size=12, min_size=1))
def test_ranks_agree_with_the_definition(online, half_life_ms, train, stream):
    method = Popularity(online=online, half_life_ms=half_life_ms)
    past = [(*event, time) for time, event in enumerate(train)]
    later = [(*event, time) for time, event in enumerate(stream, start=len(train))]
    log = make_log(stream, times=[time for *_, time in later])
    ranks = method.prequential_ranks(make_log(train), log, all_of(log), N_ITEMS)
    assert ranks.tolist() == ranks_by_definition(past, later, half_life_ms, online)
