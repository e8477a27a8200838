"""The alarm is rare while nothing changes, quick when something does, and small."""

import math

import numpy as np
import pytest

from worker.insights.drift import DriftWindow, cut_threshold, observe
from worker.insights.indicators import Sums
from worker.insights.parts import IndicatorsPart, PartKey, encode_indicators
from worker.insights.totals import Totals, decode_drift, encode_drift
from worker.insights.trends import Decay

DELTA = 0.002


def feed(window: DriftWindow, rng, rate: float, batches: int, size: int = 50) -> int | None:
    """Return after how many batches the first fall was noticed."""
    for number in range(batches):
        before = window.falls
        observe(window, size, int(rng.binomial(size, rate)), DELTA)
        if window.falls > before:
            return number + 1
    return None


def test_without_a_change_there_is_hardly_an_alarm():
    changes = checks = 0
    for seed in range(40):
        window = DriftWindow()
        feed(window, np.random.default_rng(seed), 0.3, 300)
        changes += window.falls + window.rises
        checks += 300
    assert changes / checks <= DELTA


@pytest.mark.parametrize(("before", "after", "within"), [(0.3, 0.2, 60), (0.3, 0.05, 12)])
def test_a_fall_is_noticed_and_the_window_forgets_what_was_before(before, after, within):
    rng = np.random.default_rng(1)
    window = DriftWindow()
    assert feed(window, rng, before, 200) is None
    noticed = feed(window, rng, after, 200)
    assert noticed is not None
    assert noticed <= within
    feed(window, rng, after, 100)
    assert window.rate == pytest.approx(after, abs=0.02)


def test_a_rise_is_no_fall():
    rng = np.random.default_rng(2)
    window = DriftWindow()
    feed(window, rng, 0.1, 100)
    feed(window, rng, 0.3, 100)
    assert (window.falls, window.rises) == (0, 1)


def test_the_window_is_small_however_much_it_holds():
    rng = np.random.default_rng(3)
    window = DriftWindow()
    feed(window, rng, 0.3, 5000, size=20)
    assert window.trials == 100_000
    assert len(window.batches) <= 7 * (math.log2(100_000) + 1)


def test_the_threshold_is_the_papers():
    # ε for n₀ = n₁ = 1000, p = 0.5, δ' = 0.002: √(2/500·¼·ln 1000) + 2/1500·ln 1000.
    logarithm = math.log(1000)
    expected = math.sqrt(2 / 500 * 0.25 * logarithm) + 2 / 1500 * logarithm
    assert cut_threshold(1000, 1000, 0.5, 0.002) == pytest.approx(expected)


def test_what_was_looked_at_is_not_looked_at_again():
    totals = Totals(Decay(1000.0, 10), sample_rate=1.0, drift_delta=DELTA, days=7)

    def tell(trials: int, hits: int) -> None:
        part = IndicatorsPart([(20_000, "a", Sums(next_events=trials, hits=hits))])
        totals.replace(PartKey(0), encode_indicators(part))

    tell(100, 30)
    assert totals.look_for_drift() == ["a"]
    assert totals.look_for_drift() == []
    tell(150, 40)
    assert totals.look_for_drift() == ["a"]
    assert totals.drift["a"].window.batches == [(100, 30), (50, 10)]
    stored = decode_drift(encode_drift(totals.drift["a"]))
    assert stored.taken == {"0/20000": (150, 40)}
