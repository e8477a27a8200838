"""The rank rule: score, then training popularity, then item code."""

from __future__ import annotations

import numpy as np
from event_logs import make_log
from hypothesis import given
from hypothesis import strategies as st

from worker.evaluation.baselines.ranking import CatalogueRanker

POPULARITY = np.array([1, 5, 5, 0, 3])


def test_higher_scores_come_first():
    ranker = CatalogueRanker(POPULARITY)
    scores = np.array([0.5, 0.1, 0.2, 0.9, 0.3])
    assert [ranker.rank(scores, item) for item in range(5)] == [1, 4, 3, 0, 2]


def test_ties_go_to_the_more_popular_item_and_then_to_the_smaller_code():
    ranker = CatalogueRanker(POPULARITY)
    scores = np.ones(5)
    assert [ranker.rank(scores, item) for item in range(5)] == [3, 0, 1, 4, 2]


def test_unscored_items_follow_the_scored_ones_by_popularity():
    ranker = CatalogueRanker(POPULARITY)
    scores = np.array([0.0, 0.0, 0.0, 0.2, 0.0])
    assert [ranker.rank(scores, item) for item in range(5)] == [4, 1, 2, 0, 3]


def test_sums_of_the_same_terms_in_another_order_tie():
    ranker = CatalogueRanker(np.array([0, 1]))
    forwards, backwards = (0.1 + 0.2) + 0.3, 0.1 + (0.2 + 0.3)
    assert forwards > backwards
    assert ranker.rank(np.array([forwards, backwards]), 1) == 0
    assert ranker.rank(np.array([forwards, backwards]), 0) == 1


def test_excluded_items_before_the_target_do_not_count():
    ranker = CatalogueRanker(POPULARITY)
    scores = np.array([0.5, 0.1, 0.2, 0.9, 0.3])
    assert ranker.rank(scores, 2, excluded=(3, 1)) == 2
    assert ranker.rank(scores, 2, excluded=(3, 0, 4)) == 0


def test_popularity_is_counted_in_the_training_events():
    ranker = CatalogueRanker.from_training(make_log([(0, 2), (1, 2), (1, 1)]), n_items=4)
    assert [ranker.rank(np.zeros(4), item) for item in range(4)] == [2, 1, 0, 3]


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 3)), min_size=1, max_size=12))
def test_ranks_are_the_places_in_the_sorted_catalogue(rows):
    scores = np.array([score for score, _ in rows], dtype=np.float64)
    popularity = np.array([count for _, count in rows])
    order = sorted(range(len(rows)), key=lambda item: (-rows[item][0], -rows[item][1], item))
    ranker = CatalogueRanker(popularity)
    assert [ranker.rank(scores, item) for item in order] == list(range(len(rows)))
