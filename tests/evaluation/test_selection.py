"""The validation slice, and choosing on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from event_logs import make_log, pairs
from hypothesis import given

from worker.evaluation.baselines.selection import (
    choose_on_validation,
    validate,
    validation_slice,
)


@dataclass
class Fixed:
    """A recommender that always gives the same rank."""

    name: str
    rank: int

    @property
    def settings(self):
        return {"rank": self.rank}

    def prequential_ranks(self, train, stream, scored, n_items, lists=None):
        return np.where(scored, self.rank, -1).astype(np.int32)


FOUR_USERS = make_log([(0, 1), (1, 1), (2, 1), (0, 2), (3, 1), (2, 2), (3, 2)])


def test_the_slice_repeats_the_protocol_inside_the_training_events():
    # First events at 0, 1, 2 and 4 ms: the 75 % quantile is 2.5 ms.
    fit, stream, scored = validation_slice(FOUR_USERS)
    assert fit.times.tolist() == [0, 1, 2]
    assert stream.times.tolist() == [3, 4, 5, 6]
    assert scored.tolist() == [False, True, False, True]


def test_a_user_first_seen_at_the_cut_is_not_new():
    # First events at 0, 1, 2, 3 and 4 ms: the 75 % quantile is 3 ms.
    fit, stream, scored = validation_slice(make_log([(user, 0) for user in range(5)]))
    assert fit.times.tolist() == [0, 1, 2]
    assert stream.times.tolist() == [3, 4]
    assert scored.tolist() == [False, True]


def test_no_more_than_2000_users_are_ranked_and_they_are_spread_out():
    log = make_log([(user, 0) for user in range(20_000)])
    _, stream, scored = validation_slice(log)
    ranked = np.unique(stream.users[scored])
    assert 1000 < len(ranked) <= 2000
    assert ranked[0] < 15_010
    assert ranked[-1] > 19_990


@given(pairs(max_size=40))
def test_every_event_is_learned_from_or_streamed_and_new_users_are_not_learned_from(events):
    log = make_log(events)
    fit, stream, scored = validation_slice(log)
    assert [*fit.times, *stream.times] == log.times.tolist()
    assert not set(fit.users.tolist()) & set(stream.users[scored].tolist())


def test_only_a_users_first_21_events_are_ranked():
    _, _, scored = validation_slice(make_log([(user, 0) for user in (0, 1, 2, *[3] * 30)]))
    assert scored.sum() == 21


def test_the_candidate_with_the_highest_sum_of_hit_rate_and_reciprocal_rank_is_chosen():
    bad, good, better = Fixed("bad", 20), Fixed("good", 19), Fixed("better", 0)
    assert choose_on_validation([bad, good, better], FOUR_USERS, 5) is better
    assert choose_on_validation([bad, good, Fixed("equal", 19)], FOUR_USERS, 5) is good
    assert choose_on_validation([bad, Fixed("unranked", -1)], FOUR_USERS, 5) is bad


def test_with_too_few_events_the_first_candidate_is_chosen():
    bad, good = Fixed("bad", 20), Fixed("good", 0)
    assert choose_on_validation([bad, good], make_log([]), 5) is bad
    assert choose_on_validation([bad, good], make_log([(0, 1), (0, 2)]), 5) is bad


def test_each_trial_tells_settings_quality_and_time():
    done = []
    trials = validate(
        [Fixed("bad", 20), Fixed("good", 3)], FOUR_USERS, 5, lambda *progress: done.append(progress)
    )
    assert [trial.settings for trial in trials] == [{"rank": 20}, {"rank": 3}]
    assert [trial.criterion for trial in trials] == [0.0, 1.25]
    assert [trial.quality.n for trial in trials] == [2, 2]
    assert done == [(1, 2), (2, 2)]
