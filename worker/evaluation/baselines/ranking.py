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

    def top(
        self, scores: NDArray[np.float64], k: int, excluded: Sequence[int] = ()
    ) -> NDArray[np.int32]:
        """Return the first `k` items of the order, best first: (k,), or fewer if there are no more.

        `rank` of the item at place p is p.

        Args:
            scores: (n_items,) finite.
            k: length of the list.
            excluded: distinct item codes that are not to be recommended.
        """
        length = min(k + len(excluded), len(scores))
        if length == 0:
            return np.empty(0, np.int32)
        last = float(np.partition(scores, len(scores) - length)[len(scores) - length])
        margin = TIE_TOLERANCE * abs(last)
        above = np.flatnonzero(scores > last + margin)
        above = above[np.lexsort((self._position[above], _tie_groups(scores[above])))]
        tied = np.flatnonzero(scores >= last - margin)
        tied = tied[scores[tied] <= last + margin]
        # Of the items that tie with the last place (often all that score zero), the first few.
        few = min(length - len(above), len(tied) - 1)
        first = np.argpartition(self._position[tied], few)[: length - len(above)]
        tied = tied[first][np.argsort(self._position[tied[first]])]
        best = np.concatenate([above, tied]).astype(np.int32)
        return best[~np.isin(best, excluded)][:k] if excluded else best


def _tie_groups(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Number scores (n,) from the highest, equal but for rounding ones alike: (n,)."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    drops = ordered[:-1] - ordered[1:] > TIE_TOLERANCE * np.abs(ordered[1:])
    groups = np.empty(len(scores), np.int64)
    groups[order] = np.concatenate([[0], np.cumsum(drops)])[: len(scores)]
    return groups
