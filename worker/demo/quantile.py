"""Quantiles of a cumulative histogram."""

from __future__ import annotations

import math
from collections.abc import Sequence


def histogram_quantile(q: float, bounds: Sequence[float], counts: Sequence[float]) -> float:
    """Estimate a quantile from a histogram's cumulative buckets, as Prometheus does.

    Values are taken to be spread evenly within their bucket, and the first bucket to begin at 0
    (at its own bound, if that is not above 0). A quantile in the last bucket, which has no end, is
    given as that bucket's beginning.

    Source: Prometheus, `histogram_quantile()` of classic histograms,
    https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile

    Args:
        q: which quantile, 0 to 1.
        bounds: upper bounds of the buckets, ascending, the last one infinite.
        counts: observations at or below each bound.

    Returns:
        The estimate in the unit of the bounds; NaN without observations.

    Raises:
        ValueError: the buckets are not as described, or q is no quantile.
    """
    if not 0 <= q <= 1:
        raise ValueError(f"a quantile is between 0 and 1, not {q}")
    if len(bounds) < 2 or len(bounds) != len(counts) or bounds[-1] != math.inf:
        raise ValueError("a histogram has two buckets or more, the last of them up to infinity")
    total = counts[-1]
    if total <= 0:
        return math.nan
    rank = q * total
    at = next(i for i, count in enumerate(counts) if count >= rank)
    if at == len(bounds) - 1:
        return bounds[-2]
    if at == 0 and bounds[0] <= 0:
        return bounds[0]
    begin, below = (bounds[at - 1], counts[at - 1]) if at else (0.0, 0.0)
    inside = counts[at] - below
    share = (rank - below) / inside if inside else 0.0
    return begin + (bounds[at] - begin) * share
