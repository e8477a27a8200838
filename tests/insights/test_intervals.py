"""The intervals are the named ones, and hold what they promise."""

import math
import random

import numpy as np
import pytest
from scipy.stats import binomtest

from worker.insights.indicators import Money, Sums, SumsTable, indicators
from worker.insights.intervals import normal_mean, wilson


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (3, 10), (10, 10), (1, 1), (57, 4321)])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_the_rate_has_the_score_interval(successes, trials, confidence):
    ours = wilson(successes, trials, confidence)
    theirs = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    assert ours.value == successes / trials
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_without_trials_nothing_is_known():
    assert math.isnan(wilson(0, 0, 0.95).value)
    assert (wilson(0, 0, 0.95).low, wilson(0, 0, 0.95).high) == (0, 1)
    assert math.isinf(normal_mean(3.0, 9.0, 1, 0.95).high)


def test_the_interval_of_the_mean_covers_it_as_often_as_it_says():
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(600):
        # Revenue: mostly nothing, else some amount.
        values = np.where(rng.random(2000) < 0.1, rng.exponential(30.0, 2000), 0.0)
        estimate = normal_mean(float(values.sum()), float((values**2).sum()), len(values), 0.9)
        covered += estimate.low <= 3.0 <= estimate.high
    assert 0.86 < covered / 600 < 0.93


def test_sums_of_partitions_are_the_sums_of_all():
    rng = random.Random(1)
    rows = [
        (
            (rng.randrange(3), rng.choice("ab")),
            Sums(rng.randrange(9), 1, 0, 1, 3, 2, {"EUR": Money(rng.random(), rng.random())}),
        )
        for _ in range(50)
    ]
    whole = SumsTable(rows).by_variant(3)
    parts = SumsTable([*SumsTable(rows[:20]), *SumsTable(rows[20:])]).by_variant(3)
    assert whole.keys() == parts.keys()
    for variant, row in whole.items():
        assert row.recommendations == parts[variant].recommendations
        assert row.revenue["EUR"].total == pytest.approx(parts[variant].revenue["EUR"].total)


def test_only_the_latest_days_are_put_together():
    table = SumsTable([((day, "a"), Sums(recommendations=10**day)) for day in range(5)])
    assert table.by_variant(2)["a"].recommendations == 11_000


def test_a_sample_scales_counts_and_not_rates():
    sums = Sums(recommendations=200, clicked=50, next_events=10, hits=4)
    whole, sampled = indicators("a", sums, 0.95), indicators("a", sums, 0.95, sample_rate=0.1)
    assert sampled.recommendations == 2000
    assert sampled.click_through == whole.click_through
