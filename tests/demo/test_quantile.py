import math

import numpy as np
import pytest

from worker.demo.quantile import histogram_quantile

INF = math.inf


def test_values_are_spread_evenly_within_a_bucket() -> None:
    bounds, counts = (1.0, 2.0, 4.0, INF), (0.0, 10.0, 30.0, 30.0)
    assert histogram_quantile(0.5, bounds, counts) == pytest.approx(2.5)  # the 5th of 20 in (2, 4]
    assert histogram_quantile(1 / 3, bounds, counts) == pytest.approx(2.0)
    assert histogram_quantile(0.1, bounds, counts) == pytest.approx(1.3)
    assert histogram_quantile(1.0, bounds, counts) == pytest.approx(4.0)


def test_the_first_bucket_begins_at_zero() -> None:
    assert histogram_quantile(0.25, (8.0, INF), (100.0, 100.0)) == pytest.approx(2.0)
    assert histogram_quantile(0.25, (-1.0, 3.0, INF), (100.0, 100.0, 100.0)) == -1.0


def test_the_last_bucket_has_no_end() -> None:
    assert histogram_quantile(0.99, (0.5, 1.0, INF), (5.0, 6.0, 10.0)) == 1.0


def test_nothing_observed_has_no_quantile() -> None:
    assert math.isnan(histogram_quantile(0.5, (1.0, INF), (0.0, 0.0)))


def test_it_is_off_by_less_than_the_bucket() -> None:
    values = np.random.default_rng(0).gamma(2.0, 0.05, 5000)
    bounds = [*np.linspace(0.01, 1.0, 100), INF]
    counts = [float((values <= bound).sum()) for bound in bounds]
    for q in (0.01, 0.25, 0.5, 0.9, 0.99):
        exact = np.quantile(values, q, method="inverted_cdf")
        assert abs(histogram_quantile(q, bounds, counts) - exact) <= 0.01


@pytest.mark.parametrize(
    ("q", "bounds", "counts"),
    [
        (1.5, (1.0, INF), (1.0, 1.0)),
        (0.5, (1.0, 2.0), (1.0, 1.0)),
        (0.5, (INF,), (1.0,)),
        (0.5, (1.0, INF), (1.0,)),
    ],
)
def test_what_is_no_histogram_is_refused(q: float, bounds, counts) -> None:
    with pytest.raises(ValueError, match=r"quantile|histogram"):
        histogram_quantile(q, bounds, counts)
