"""Cells of a report: the quality of several models over sets of the same events, and how sure."""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from worker.evaluation.statistics import McNemar, interval, mcnemar, p_value, resample
from worker.ranking_quality import TOP, Quality, quality

Band = tuple[float, float]
"""Low and high end of a confidence interval."""


class Bands(msgspec.Struct, frozen=True, kw_only=True):
    """Confidence intervals of a cell; None over no events."""

    hit_rate: Band | None = msgspec.field(name="hr@20")
    reciprocal_rank: Band | None = msgspec.field(name="mrr@20")


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The reference less the other model, paired, by the bootstrap over users."""

    difference: float
    low: float
    high: float
    p: float
    """Two-sided."""


class ComparedCell(msgspec.Struct, frozen=True, kw_only=True):
    """Two models on the same events."""

    n: int
    hit_rate: Difference | None = msgspec.field(name="hr@20")
    """None over no events, as below."""
    reciprocal_rank: Difference | None = msgspec.field(name="mrr@20")
    mcnemar: McNemar | None
    """Of hits at 20."""


class Cells:
    """Models on the same n events, over any sets of these.

    Args:
        ranks: 0-based, of each model, (models, n), all ≥ 0.
        users: the user of each event, (n,).
        masks: which events each cell is of, (cells, n).
        seed: of the bootstrap.
    """

    def __init__(
        self,
        ranks: NDArray[np.int32],
        users: NDArray[np.integer],
        masks: NDArray[np.bool_],
        seed: int,
    ) -> None:
        self._ranks, self._masks = ranks, masks
        self._draws = resample(ranks, users, masks, seed=seed)
        self._hit_rate = interval(self._draws.hit_rate)
        self._reciprocal_rank = interval(self._draws.reciprocal_rank)

    def __len__(self) -> int:
        return len(self._masks)

    def quality(self, model: int, cell: int) -> Quality:
        """Return a model's quality."""
        return quality(self._ranks[model, self._masks[cell]])

    def bands(self, model: int, cell: int) -> Bands:
        """Return how sure a model's quality is."""
        rates, reciprocals = self._hit_rate, self._reciprocal_rank
        return Bands(
            hit_rate=_band(rates.low[model, cell], rates.high[model, cell]),
            reciprocal_rank=_band(reciprocals.low[model, cell], reciprocals.high[model, cell]),
        )

    def compared(self, model: int, cell: int) -> ComparedCell:
        """Return the first model less another one."""
        mask = self._masks[cell]
        if not mask.any():
            return ComparedCell(n=0, hit_rate=None, reciprocal_rank=None, mcnemar=None)
        ours, theirs = self.quality(0, cell), self.quality(model, cell)
        rates = self._draws.hit_rate[:, :, cell]
        reciprocals = self._draws.reciprocal_rank[:, :, cell]
        return ComparedCell(
            n=ours.n,
            hit_rate=_difference(ours.hit_rate, theirs.hit_rate, rates, model),
            reciprocal_rank=_difference(
                ours.reciprocal_rank, theirs.reciprocal_rank, reciprocals, model
            ),
            mcnemar=mcnemar(self._ranks[0, mask] < TOP, self._ranks[model, mask] < TOP),
        )


def _band(low: np.float64, high: np.float64) -> Band | None:
    return None if math.isnan(low) else (float(low), float(high))


def _difference(
    mine: float | None, other: float | None, draws: NDArray[np.float64], model: int
) -> Difference | None:
    if mine is None or other is None:
        return None
    resampled = draws[:, 0] - draws[:, model]
    band = interval(resampled)
    return Difference(
        difference=mine - other,
        low=float(band.low),
        high=float(band.high),
        p=float(p_value(resampled)),
    )
