"""The bootstrap over users and McNemar's test, against scipy, known values and hand counts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from worker.evaluation import statistics
from worker.evaluation.statistics import interval, mcnemar, p_value, resample
from worker.ranking_quality import TOP

HIT, MISS = 0, TOP


def discordant(only_model: int, only_against: int, both: int = 7):
    model = [True] * only_model + [False] * only_against + [True] * both
    against = [False] * only_model + [True] * only_against + [True] * both
    return np.array(model), np.array(against)


def everything(n: int) -> np.ndarray:
    return np.ones((1, n), np.bool_)


def test_mcnemar_with_few_discordant_events_is_the_exact_binomial_test():
    # b = 6, c = 16: the textbook example whose exact p is .0525.
    result = mcnemar(*discordant(6, 16))
    assert (result.only_model, result.only_against, result.statistic) == (6, 16, None)
    assert result.p == pytest.approx(0.0525, abs=5e-5)
    assert result.p == pytest.approx(2 * stats.binom.cdf(6, 22, 0.5))


def test_mcnemar_with_many_is_the_corrected_chi_square_test():
    # b = 121, c = 59: (|121 − 59| − 1)² / 180 = 3721/180.
    result = mcnemar(*discordant(121, 59))
    assert result.statistic == pytest.approx(3721 / 180)
    assert result.p == pytest.approx(stats.chi2.sf(3721 / 180, 1))
    assert result.p == pytest.approx(5.45e-6, rel=0.01)


def test_mcnemar_is_exact_below_25_discordant_events():
    assert mcnemar(*discordant(12, 12)).statistic is None
    assert mcnemar(*discordant(12, 13)).statistic == 0.0
    assert mcnemar(*discordant(13, 13)).p == 1.0


def test_mcnemar_without_a_discordant_event_finds_nothing():
    assert mcnemar(*discordant(0, 0)).p == 1.0


def test_intervals_agree_with_scipys_bootstrap_of_a_ratio():
    draw = np.random.default_rng(3)
    users = np.repeat(np.arange(80), draw.integers(1, 9, 80))
    ranks = draw.integers(0, 60, (1, len(users))).astype(np.int32)
    hits = np.bincount(users, ranks[0] < TOP)
    events = np.bincount(users)
    expected = stats.bootstrap(
        (hits, events),
        lambda h, n, axis: h.sum(axis) / n.sum(axis),
        paired=True,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(4),
    ).confidence_interval
    found = interval(resample(ranks, users, everything(len(users)), draws=20_000).hit_rate)
    assert found.low[0, 0] == pytest.approx(expected.low, abs=0.004)
    assert found.high[0, 0] == pytest.approx(expected.high, abs=0.004)


def test_users_are_resampled_and_not_events():
    # Each of 100 users either always hits or never does: 20 events of a user tell no more than one.
    users = np.repeat(np.arange(100), 20)
    ranks = np.where(users % 2 == 0, HIT, MISS).astype(np.int32)[None]
    found = resample(ranks, users, everything(len(users))).hit_rate
    assert found.std() == pytest.approx(np.sqrt(0.25 / 100), rel=0.1)


def test_cells_are_means_over_their_own_events():
    users = np.array([0, 0, 1, 1])
    ranks = np.array([[0, MISS, 1, MISS], [MISS, 3, MISS, 3]], np.int32)
    cells = np.array([[True, False, True, False], [False, True, False, True]])
    found = resample(ranks, users, cells, draws=50)
    assert found.hit_rate.shape == (50, 2, 2)
    assert (found.hit_rate == np.array([[1.0, 0.0], [0.0, 1.0]])).all()
    # Two users: the first model's mean of 1 and 1/2 is 1, 3/4 or 1/2.
    assert set(found.reciprocal_rank[:, 0, 0].tolist()) == {1.0, 0.75, 0.5}


def test_models_are_measured_on_the_same_draws():
    draw = np.random.default_rng(5)
    users = draw.integers(0, 30, 200)
    ranks = draw.integers(0, 40, 200).astype(np.int32)
    found = resample(np.stack([ranks, ranks]), users, everything(200))
    assert (found.hit_rate[:, 0] == found.hit_rate[:, 1]).all()
    assert p_value(found.hit_rate[:, 0] - found.hit_rate[:, 1]).tolist() == [1.0]


def test_draws_depend_on_the_seed_and_not_on_how_they_are_chunked(monkeypatch):
    users = np.arange(40)
    ranks = np.stack([users % 3, 10 * (users % 5)]).astype(np.int32)
    whole = resample(ranks, users, everything(40), seed=1)
    assert (whole.hit_rate != resample(ranks, users, everything(40), seed=2).hit_rate).any()
    monkeypatch.setattr(statistics, "_PICKS_AT_ONCE", 40 * 7)
    monkeypatch.setattr(statistics, "_SUMS_AT_ONCE", 1)  # one model at a time
    chunked = resample(ranks, users, everything(40), seed=1)
    np.testing.assert_allclose(whole.hit_rate, chunked.hit_rate)
    np.testing.assert_allclose(whole.reciprocal_rank, chunked.reciprocal_rank)


def test_p_values_count_the_draws_on_the_lesser_side_of_zero():
    differences = np.concatenate([np.full(990, 0.1), np.full(9, -0.1)])
    assert p_value(differences) == pytest.approx(2 * 10 / 1000)
    assert p_value(np.full(999, 0.1)) == pytest.approx(2 / 1000)
    assert p_value(-differences) == p_value(differences)


def test_p_values_of_no_difference_are_about_uniform():
    draw = np.random.default_rng(6)
    found = []
    for _ in range(200):
        ranks = draw.choice([HIT, MISS], (2, 300)).astype(np.int32)
        sample = resample(ranks, np.arange(300) % 100, everything(300), draws=200).hit_rate
        found.append(float(p_value(sample[:, 0] - sample[:, 1])[0]))
    assert 0.4 < np.mean(found) < 0.65
    assert np.mean(np.array(found) < 0.1) < 0.2


def test_a_cell_without_events_has_no_interval():
    cells = np.array([[True, True], [False, False]])
    found = resample(np.zeros((1, 2), np.int32), np.array([0, 1]), cells)
    ends = interval(found.hit_rate)
    assert ends.low[0, 0] == ends.high[0, 0] == 1.0
    assert np.isnan(ends.low[0, 1])
    assert np.isnan(p_value(found.hit_rate)[0, 1])


def test_a_cell_that_some_draws_miss_is_measured_on_the_others():
    cells = np.array([[True, False, False]])
    ends = interval(resample(np.zeros((1, 3), np.int32), np.arange(3), cells).hit_rate)
    assert ends.low[0, 0] == ends.high[0, 0] == 1.0


def test_no_events_at_all():
    found = resample(np.empty((2, 0), np.int32), np.empty(0, np.int64), np.ones((1, 0), np.bool_))
    assert np.isnan(found.hit_rate).all()
