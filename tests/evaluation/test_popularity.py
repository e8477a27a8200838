"""Recency-weighted popularity, by hand."""

from __future__ import annotations

import math

import numpy as np
from event_logs import all_of, make_log

from worker.evaluation.baselines import Popularity
from worker.evaluation.baselines.popularity import HALF_LIVES_MS, decayed_counts

DAY_MS = 24 * 3600 * 1000


def test_an_event_one_half_life_old_counts_half():
    log = make_log([(0, 1), (1, 1), (0, 2)], times=[0, 10, 20])
    assert decayed_counts(log, 4, half_life_ms=10.0).tolist() == [0.0, 0.75, 1.0, 0.0]


def test_an_infinite_half_life_counts_every_event_alike():
    log = make_log([(0, 1), (1, 1), (0, 2)], times=[0, 10, 20])
    assert decayed_counts(log, 4, half_life_ms=math.inf).tolist() == [0.0, 2.0, 1.0, 0.0]


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


def one_buyer_a_day(favourites_by_day, n_days=400):
    """Half of the buyers buy one of the day's 20 favourites, the others any of 100 items."""
    rng = np.random.default_rng(7)
    items = [
        int(rng.choice(favourites_by_day(day)) if rng.random() < 0.5 else rng.integers(100))
        for day in range(n_days)
    ]
    return make_log(list(enumerate(items)), [day * DAY_MS for day in range(n_days)])


def test_steady_tastes_choose_a_long_memory():
    log = one_buyer_a_day(lambda day: range(20))
    assert Popularity().chosen_half_life(log, 100) >= 90 * DAY_MS


def test_a_change_of_taste_chooses_a_short_memory():
    log = one_buyer_a_day(lambda day: range(20) if day < 240 else range(50, 70))
    assert Popularity().chosen_half_life(log, 100) <= 30 * DAY_MS


def test_a_half_life_that_is_given_is_kept():
    assert Popularity(half_life_ms=5.0).chosen_half_life(make_log([(0, 1)]), 4) == 5.0


def test_without_validation_users_nothing_decays():
    assert Popularity().chosen_half_life(make_log([]), 4) == math.inf
    assert Popularity().chosen_half_life(make_log([(0, 1), (0, 2)]), 4) == math.inf


def test_half_lives_are_offered_longest_first():
    assert list(HALF_LIVES_MS) == sorted(HALF_LIVES_MS, reverse=True)
