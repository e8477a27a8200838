"""How sure a difference is: the bootstrap over users, and McNemar's test.

Events of one user are not independent, so users are resampled, each with all of their events (the
cluster bootstrap: Field and Welsh, "Bootstrapping clustered data", JRSS B 69, 2007). Every model is
measured on the same resampled users, so differences between models are paired (as in Koehn,
"Statistical Significance Tests for Machine Translation Evaluation", EMNLP 2004).
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import stats

from worker.ranking_quality import TOP

DRAWS = 1000
"""Resamplings of the users."""

CONFIDENCE = 0.95

EXACT_BELOW = 25
"""Discordant events below which McNemar's test is the exact binomial one."""

_PICKS_AT_ONCE = 1 << 23
_SUMS_AT_ONCE = 1 << 24

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Resampled:
    """Quality over every resampling of the users; NaN where a cell has no events."""

    hit_rate: Floats
    """(draws, models, cells)."""
    reciprocal_rank: Floats
    """(draws, models, cells)."""


@dataclass(frozen=True)
class Interval:
    """A percentile interval, per model and cell."""

    low: Floats
    high: Floats


class McNemar(msgspec.Struct, frozen=True, kw_only=True):
    """McNemar's test of two models' hits at the same events."""

    only_model: int
    """Events at which the model hits and the other does not."""
    only_against: int
    """Events at which the other hits and the model does not."""
    statistic: float | None
    """χ² with one degree of freedom, continuity corrected; None for the exact test."""
    p: float
    """Two-sided."""


def resample(
    ranks: NDArray[np.int32],
    users: NDArray[np.integer],
    cells: NDArray[np.bool_],
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> Resampled:
    """Measure every model over resamplings of the users, the same ones for all.

    Args:
        ranks: 0-based ranks of the same n events by each model, (models, n), all ≥ 0.
        users: the user of each event, (n,).
        cells: which events each cell is the mean of, (cells, n).
        seed: of the draws.
        draws: how many.
    """
    _, user = np.unique(users, return_inverse=True)
    n_users = int(user.max(initial=-1)) + 1
    if n_users == 0:
        shape = (draws, len(ranks), len(cells))
        return Resampled(np.full(shape, np.nan), np.full(shape, np.nan))
    at_once = max(1, _SUMS_AT_ONCE // (n_users * len(cells)))
    parts = []
    for start in range(0, len(ranks), at_once):
        # The same seed, so the same draws, for all models.
        rng = np.random.default_rng(seed)
        sums = _sums_by_user(ranks[start : start + at_once], user, n_users, cells)
        totals = _resampled_totals(np.concatenate(sums, axis=1), draws, rng)
        parts.append(_means(totals, len(cells)))
    return Resampled(
        np.concatenate([part.hit_rate for part in parts], axis=1),
        np.concatenate([part.reciprocal_rank for part in parts], axis=1),
    )


def interval(values: Floats) -> Interval:
    """Return the percentile interval over the first axis at `CONFIDENCE`, NaN draws left out."""
    tail = 50.0 * (1.0 - CONFIDENCE)
    present = ~np.isnan(values).all(axis=0)
    low, high = (np.full(values.shape[1:], np.nan) for _ in range(2))
    low[present], high[present] = np.nanpercentile(values[:, present], (tail, 100 - tail), axis=0)
    return Interval(low, high)


def p_value(differences: Floats) -> Floats:
    """Return the two-sided bootstrap p-value of differences (draws, …) against none, (…).

    Twice the share of resamplings on the less frequent side of zero, the observed sample counted
    in (Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 4.2), so it
    is never below 2/(draws + 1).
    """
    present = ~np.isnan(differences)
    n = present.sum(axis=0)
    below = ((differences <= 0) & present).sum(axis=0)
    above = ((differences >= 0) & present).sum(axis=0)
    p = np.minimum(1.0, 2.0 * (np.minimum(below, above) + 1.0) / (n + 1.0))
    return np.asarray(np.where(n > 0, p, np.nan))


def mcnemar(model: NDArray[np.bool_], against: NDArray[np.bool_]) -> McNemar:
    """Test whether two models hit equally often at the same events.

    With b and c events at which only one of the two hits: exact binomial if b + c is below
    `EXACT_BELOW`, else χ² = (|b − c| − 1)²/(b + c) (McNemar, "Note on the sampling error of the
    difference between correlated proportions or percentages", Psychometrika 12, 1947; the
    correction is Edwards', 1948). The events are taken as independent, which those of one user
    are not: read it beside the bootstrap over users.

    Args:
        model: whether the model hits, (n,).
        against: whether the other does, (n,).
    """
    b, c = int((model & ~against).sum()), int((against & ~model).sum())
    if b + c < EXACT_BELOW:
        p = float(stats.binomtest(b, b + c, 0.5).pvalue) if b + c else 1.0
        return McNemar(only_model=b, only_against=c, statistic=None, p=p)
    statistic = max(0, abs(b - c) - 1) ** 2 / (b + c)
    p = float(stats.chi2.sf(statistic, df=1))
    return McNemar(only_model=b, only_against=c, statistic=statistic, p=p)


def _sums_by_user(
    ranks: NDArray[np.int32], user: NDArray[np.intp], n_users: int, cells: NDArray[np.bool_]
) -> tuple[Floats, Floats, Floats]:
    """Return each user's events (users, cells), hits and reciprocals (users, models · cells)."""
    hit = ranks < TOP
    reciprocal = np.where(hit, 1.0 / (1.0 + ranks), 0.0)

    def sums(values: Floats | NDArray[np.bool_]) -> list[Floats]:
        return [
            np.bincount(user[cell], values[cell].astype(np.float64), n_users).astype(np.float64)
            for cell in cells
        ]

    every = np.ones(len(user))
    return (
        np.stack(sums(every), axis=1),
        np.stack([column for model in hit for column in sums(model)], axis=1),
        np.stack([column for model in reciprocal for column in sums(model)], axis=1),
    )


def _means(totals: Floats, n_cells: int) -> Resampled:
    """Divide sums (draws, cells + 2 · models · cells) by the cells' events, which come first."""
    events, sums = totals[:, None, :n_cells], totals[:, n_cells:]
    hits, reciprocals = np.split(sums.reshape(len(totals), -1, n_cells), 2, axis=1)
    with np.errstate(invalid="ignore"):
        return Resampled(hits / events, reciprocals / events)


def _resampled_totals(columns: Floats, draws: int, rng: np.random.Generator) -> Floats:
    """Return the sums of columns (users, m) over `draws` resamplings of the users, (draws, m)."""
    n_users = len(columns)
    at_once = max(1, _PICKS_AT_ONCE // n_users)
    totals = []
    for start in range(0, draws, at_once):
        n = min(at_once, draws - start)
        picks = rng.integers(0, n_users, (n, n_users)) + n_users * np.arange(n)[:, None]
        weights = np.bincount(picks.ravel(), minlength=n * n_users).reshape(n, n_users)
        totals.append(weights.astype(np.float64) @ columns)
    return np.concatenate(totals)
