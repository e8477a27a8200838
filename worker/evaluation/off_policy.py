"""What another policy would have earned, from lists that were published with their propensities.

Of each list there is the probability π(a_j | a_1 … a_{j−1}) of each item at its place given those
above it, under the policy that made it; the other policy's probability of the same choice divided
by that is the choice's weight. Two assumptions about rewards, two weights:

- the reward of a place depends on the items down to it (a user who reads from above): the weight of
  a place is the product of those down to it. Reward interaction inverse propensity scoring
  (McInerney, Brost, Chandar, Mehrotra and Carterette 2020, arXiv:2007.12986);
- the reward of a list depends on all of it: the product of all. Inverse propensity scoring of whole
  lists (Horvitz and Thompson 1952; Precup, Sutton and Singh 2000).

Either as it is, without bias and of large variance, or self-normalised (Swaminathan and Joachims
2015, "The self-normalized estimator for counterfactual learning"): divided by the sum of weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Estimate:
    """The value of a policy: what a list earns on average."""

    value: float
    low: float
    high: float
    """Bounds of the confidence interval, by the central limit theorem."""
    effective_lists: float
    """How many lists of the other policy's own these are worth: (Σ w)² / Σ w² (Kish 1965)."""


def place_weights(
    propensities: NDArray[np.float64], wanted: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weight of each place by the items down to it, (n, k).

    Args:
        propensities: of the choices that were made, (n, k).
        wanted: the other policy's probabilities of the same choices, (n, k).
    """
    return np.cumprod(wanted / propensities, axis=1, dtype=np.float64)


def list_weights(
    propensities: NDArray[np.float64], wanted: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weight of each whole list, (n,); see `place_weights`."""
    weights: NDArray[np.float64] = place_weights(propensities, wanted)[:, -1]
    return weights


def inverse_propensity(
    rewards: NDArray[np.float64], weights: NDArray[np.float64], *, confidence: float = 0.95
) -> Estimate:
    """Estimate a value without bias.

    Args:
        rewards: of lists, (n,), or of their places, (n, k), whose sum is a list's.
        weights: likewise.
        confidence: of the interval.
    """
    earned = _by_list(rewards * weights)
    error = float(earned.std(ddof=1)) / len(earned) ** 0.5
    return _estimate(float(earned.mean()), error, weights, confidence)


def self_normalised(
    rewards: NDArray[np.float64], weights: NDArray[np.float64], *, confidence: float = 0.95
) -> Estimate:
    """Estimate a value with less variance, and a bias that falls as 1 / n.

    The variance is that of a ratio, by the delta method (Owen 2013, "Monte Carlo theory, methods
    and examples", section 9.2).

    Args:
        rewards: of lists, (n,), or of their places, (n, k), whose sum is a list's.
        weights: likewise; places are normalised each by itself.
        confidence: of the interval.
    """
    rewards, weights = np.atleast_2d(rewards.T).T, np.atleast_2d(weights.T).T
    mean = weights.mean(axis=0)
    values = (rewards * weights).mean(axis=0) / mean
    gaps = (weights * (rewards - values) / mean).sum(axis=1)
    error = float(np.sqrt(np.mean(gaps**2) / len(gaps)))
    return _estimate(float(values.sum()), error, weights, confidence)


def _by_list(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values if values.ndim == 1 else values.sum(axis=1)


def _estimate(
    value: float, error: float, weights: NDArray[np.float64], confidence: float
) -> Estimate:
    width = NormalDist().inv_cdf(0.5 + confidence / 2) * error
    last = weights if weights.ndim == 1 else weights[:, -1]
    squares = float((last**2).sum())
    effective = float(last.sum()) ** 2 / squares if squares else 0.0
    return Estimate(value, value - width, value + width, effective)
