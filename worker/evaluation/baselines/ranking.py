"""The one rule by which scores become ranks, the same for every method."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from worker.data import EventLog

TIE_TOLERANCE = 1e-10
"""Scores closer than this, relative to the target's, tie: they differ by rounding alone.

Equal sums added in different orders differ by about 1e-16 per term; without the tolerance that
noise would break ties, in anyone's favour."""


class CatalogueRanker:
    """Orders the catalogue by score (descending), training popularity (descending), item code.

    The rank of a target is the number of items before it in that order. The order is total, so
    there is no sampling and no tie won or lost by luck; items that a method leaves at score zero
    stand behind those with a positive score, by popularity.
    """

    def __init__(self, popularity: NDArray[np.int64]) -> None:
        """Take the number of training events of each item, (n_items,)."""
        order = np.lexsort((np.arange(len(popularity)), -popularity))
        self._position = np.empty(len(popularity), dtype=np.int32)
        self._position[order] = np.arange(len(popularity), dtype=np.int32)

    @classmethod
    def from_training(cls, train: EventLog, n_items: int) -> CatalogueRanker:
        """Break ties by the number of events of each item in `train`."""
        return cls(np.bincount(train.items, minlength=n_items))

    def rank(self, scores: NDArray[np.float64], target: int, excluded: Sequence[int] = ()) -> int:
        """Return the number of items preferred to `target`.

        Args:
            scores: (n_items,) finite.
            target: the item code to find.
            excluded: distinct item codes, other than the target, that are not to be recommended
                and so do not count.
        """
        target_score = float(scores[target])
        margin = TIE_TOLERANCE * abs(target_score)
        preferred = scores >= target_score - margin
        preferred &= self._position < self._position[target]
        preferred |= scores > target_score + margin
        rank = int(np.count_nonzero(preferred))
        if excluded:
            rank -= int(np.count_nonzero(preferred[list(excluded)]))
        return rank
