"""The rivals on item vectors, and the settings they choose of: implicit ALS and the ridge head.

They stay as they stand at the cut; what adapts is the user's own vector. The settings were laid out
as those of `fast`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from worker.evaluation.baselines.als import ImplicitALS
from worker.evaluation.baselines.base import StreamRecommender
from worker.evaluation.baselines.prefixes import LastResult
from worker.evaluation.baselines.registry import Rival
from worker.evaluation.baselines.ridge import RidgeHead

if TYPE_CHECKING:
    from implicit.cpu.als import AlternatingLeastSquares
    from torch import Tensor


def factor_rivals() -> list[Rival]:
    """Return the rivals in the order in which reports show them."""
    return [
        Rival(name="als", group="factors", candidates=_als),
        Rival(name="ridge", group="factors", candidates=_ridge),
    ]


def _als(*, exclude_seen: bool, seed: int, device: str) -> Sequence[StreamRecommender]:
    fitted: LastResult[AlternatingLeastSquares] = LastResult()
    return [
        ImplicitALS(
            factors=factors,
            alpha=alpha,
            recency=recency,
            skip_recent=skip_recent,
            seed=seed,
            exclude_seen=exclude_seen,
            fitted=fitted,
        )
        for factors, alpha in ((128, 100.0), (128, 10.0), (256, 100.0))
        for recency in (0.5, 0.8)
        for skip_recent in (1, 20)
    ]


def _ridge(*, exclude_seen: bool, seed: int, device: str) -> Sequence[StreamRecommender]:
    vectors: LastResult[Tensor] = LastResult()
    return [
        RidgeHead(
            power=power,
            recency=recency,
            skip_recent=skip_recent,
            exclude_seen=exclude_seen,
            vectors=vectors,
        )
        for power, recency, skip_recent in itertools.product((0.5, 0.0), (0.5, 0.8), (1, 20))
    ]
