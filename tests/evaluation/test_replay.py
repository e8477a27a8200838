"""The replay loop: what is asked, told and remembered, and when."""

from __future__ import annotations

import numpy as np
import pytest
from event_logs import all_of, make_log

from worker.evaluation.baselines.ranking import CatalogueRanker
from worker.evaluation.baselines.replay import HistoryScorer, UserHistories, replay


class Recorder:
    """Scores item 0 above the rest and writes down what it is asked and told, in order."""

    def __init__(self, n_items: int) -> None:
        self.calls: list[tuple[str, list[int]]] = []
        self._scores = np.zeros(n_items)
        self._scores[0] = 1.0

    def score(self, history):
        self.calls.append(("score", list(history)))
        return self._scores

    def learn(self, history, item):
        self.calls.append(("learn", [*history, item]))


def run(train, stream, scored, **options):
    recorder = Recorder(n_items=4)
    histories = UserHistories(2)
    histories.follow(train)
    ranks = replay(
        train,
        stream,
        scored,
        ranker=CatalogueRanker.from_training(train, 4),
        scorer=HistoryScorer(histories, recorder.score, recorder.learn),
        **options,
    )
    return ranks.tolist(), recorder.calls


def test_each_event_is_ranked_and_then_learned_after_its_users_own_past():
    train = make_log([(0, 1), (0, 2), (0, 3)])
    stream = make_log([(1, 2), (0, 0), (1, 1)])
    ranks, calls = run(train, stream, all_of(stream))
    assert ranks == [2, 0, 1]
    assert calls == [
        ("score", []),
        ("learn", [2]),
        ("score", [2, 3]),  # the last two of three: histories are bounded
        ("learn", [2, 3, 0]),
        ("score", [2]),
        ("learn", [2, 1]),
    ]


def test_events_that_are_not_scored_are_still_learned_and_remembered():
    stream = make_log([(1, 2), (1, 1)])
    ranks, calls = run(make_log([]), stream, np.array([False, True]))
    assert ranks == [-1, 1]
    assert calls == [("learn", [2]), ("score", [2]), ("learn", [2, 1])]


def test_seen_items_are_neither_recommended_nor_expected():
    train = make_log([(0, 0), (1, 1)])
    stream = make_log([(0, 2), (0, 3), (0, 0), (0, 3), (1, 0)])
    ranks, _ = run(train, stream, all_of(stream), exclude_seen=True)
    # Order of the catalogue: 0, 1, 2, 3. User 0 has seen 0, then 2, then 3 as well.
    assert ranks == [1, 1, -1, -1, 0]


def test_repeats_count_unless_seen_items_are_excluded():
    stream = make_log([(0, 1), (0, 1)])
    assert run(make_log([]), stream, all_of(stream))[0] == [1, 1]
    assert run(make_log([]), stream, all_of(stream), exclude_seen=True)[0] == [1, -1]


def test_a_mask_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="scored has 1 entries for 2 events"):
        run(make_log([]), make_log([(0, 1), (0, 2)]), np.array([True]))
