"""Confidence intervals of the indicators."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True)
class Estimate:
    """A number and the interval that it is known within."""

    value: float
    low: float
    high: float


def wilson(successes: int, trials: int, confidence: float) -> Estimate:
    """Return a rate with the score interval.

    With z the normal quantile, n trials and the rate p, the interval is
    (p + z²/2n ± z·√(p(1−p)/n + z²/4n²)) / (1 + z²/n): Wilson, "Probable inference, the law of
    succession, and statistical inference", JASA 22 (1927); recommended over the textbook interval
    by Brown, Cai & DasGupta, "Interval estimation for a binomial proportion", Statistical Science
    16 (2001). It takes the trials as independent.

    Args:
        successes: at most `trials`.
        trials: none make the rate NaN and the interval [0, 1].
        confidence: between 0 and 1.
    """
    if trials == 0:
        return Estimate(math.nan, 0.0, 1.0)
    z = quantile(confidence)
    rate = successes / trials
    shrink = 1 + z * z / trials
    middle = (rate + z * z / (2 * trials)) / shrink
    half = z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials)) / shrink
    # Rounding alone may put a bound of 0 or 1 beyond them.
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    high = 1.0 if successes == trials else min(1.0, middle + half)
    return Estimate(rate, low, high)


def normal_mean(total: float, squares: float, count: int, confidence: float) -> Estimate:
    """Return a mean with the interval of the central limit theorem, mean ± z·s/√n.

    s² is the unbiased variance of the `count` values. Good for the many recommendations of a day
    and poor for a few hundred, as revenue is mostly zero and has a long tail (Kohavi, Tang & Xu,
    "Trustworthy Online Controlled Experiments", 2020, chapter 17, ask for 355·skewness² values).

    Args:
        total: sum of the values.
        squares: sum of their squares.
        count: of values; fewer than two make the interval infinite.
        confidence: between 0 and 1.
    """
    if count == 0:
        return Estimate(math.nan, -math.inf, math.inf)
    mean = total / count
    if count == 1:
        return Estimate(mean, -math.inf, math.inf)
    variance = max(0.0, (squares - count * mean * mean) / (count - 1))
    half = quantile(confidence) * math.sqrt(variance / count)
    return Estimate(mean, mean - half, mean + half)


def quantile(confidence: float) -> float:
    """Return z such that a standard normal value lies within ±z with this probability."""
    return NormalDist().inv_cdf((1 + confidence) / 2)
