"""The prior in a catalogue's rows: how much each item's score gets, and for whom it counts.

**Amount.** Counts of events, c of item j, are taken as draws from a multinomial distribution over
the items, with a symmetric Dirichlet prior of one event for each: the posterior means of two items
are as (1 + c_j) to (1 + c_k) (add-one smoothing; as a prior of language models in Zhai and Lafferty
2004, "A study of smoothing methods for language models applied to information retrieval"). Scores
are logits, so an item gets

    strength × log(1 + c_j),

nothing where nothing was counted. `strength` 1 multiplies the two distributions (a product of
experts, Hinton 2002); less than 1 takes account of what the model knows of popularity already
(log-linear pooling, Genest and Zidek 1986).

**Shrinkage.** For a user of whom n events on known items tell what they like, the amount is
multiplied by

    w(n) = n₀ / (n₀ + n),

the weight of the prior's mean in a conjugate model's posterior mean whose prior is worth n₀ events
(Gelman et al., "Bayesian Data Analysis", 2.4). Below a tenth it is taken for nothing, and so it is
where n is all of the latest events that the worker remembers of a user.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.insights import ALL_SURFACES
from worker.catalogue import Catalogue
from worker.rows import NO_ITEM
from worker.trending.batch import BatchPrior
from worker.trending.follower import Trends

_NEGLIGIBLE = 0.1


class TrendingPrior:
    """What is trending, for the lists that are ranked with one catalogue.

    Args:
        latest: gives what is trending now.
        catalogue: the items.
        events: n₀, how many events it is worth.
        strength: see above.
    """

    def __init__(
        self,
        latest: Callable[[], Trends],
        catalogue: Catalogue,
        *,
        events: float,
        strength: float,
    ) -> None:
        self._latest = latest
        self._catalogue = catalogue
        self._events = events
        self._strength = strength
        self._known = (-1, -1)
        self._groups: dict[str, int] = {}
        self._rows: NDArray[np.int32] = np.empty((0, 0), np.int32)
        self._amounts: NDArray[np.float32] = np.empty((0, 0), np.float32)
        self.revision = 0
        """Goes up whenever lists may change."""

    def level(self) -> None:
        """Take over what is trending now, in the rows that the items have now."""
        trends = self._latest()
        known = (trends.revision, self._catalogue.revision)
        if known == self._known:
            return
        if trends.revision != self._known[0] or trends.surfaces:
            self._resolve(trends)
            self.revision += 1
        self._known = known

    def for_lists(
        self, surfaces: Sequence[str | None] | None, recent_rows: NDArray[np.int64]
    ) -> BatchPrior | None:
        """Return what the prior adds to the scores that n lists are made of; None for nothing.

        A list goes by what is trending on the surface that is given for it, if anything is, and
        else by what is trending on all surfaces.

        Args:
            surfaces: where the events that are answered happened; None or nothing if unknown.
            recent_rows: rows of the users' recent items, (n, r), `NO_ITEM` where there is none.
        """
        self.level()
        if not self._groups or not len(recent_rows):
            return None
        seen = np.count_nonzero(recent_rows != NO_ITEM, axis=1)
        weights = (self._events / (self._events + seen)).astype(np.float32)
        full = seen == max(1, recent_rows.shape[1])
        weights[full | (weights < _NEGLIGIBLE)] = 0.0
        everywhere = self._groups.get(ALL_SURFACES, -1)
        groups = np.full(len(recent_rows), everywhere, np.int64)
        if surfaces:
            groups[:] = [self._groups.get(s or ALL_SURFACES, everywhere) for s in surfaces]
        weights[groups < 0] = 0.0
        if not weights.any():
            return None
        return BatchPrior(self._rows, self._amounts, np.maximum(groups, 0), weights)

    def _resolve(self, trends: Trends) -> None:
        """Find the rows of the items, and what their scores get."""
        found: list[tuple[str, NDArray[np.int32], NDArray[np.float32]]] = []
        for surface, (item_ids, counts) in trends.surfaces.items():
            rows = np.array(self._catalogue.rows(item_ids), np.int32)
            known = rows != NO_ITEM
            if known.any():
                amounts = self._strength * np.log1p(counts[known])
                found.append((surface, rows[known], amounts.astype(np.float32)))
        self._groups = {surface: number for number, (surface, _, _) in enumerate(found)}
        width = max((len(rows) for _, rows, _ in found), default=0)
        self._rows = np.full((len(found), width), NO_ITEM, np.int32)
        self._amounts = np.zeros((len(found), width), np.float32)
        for number, (_, rows, amounts) in enumerate(found):
            self._rows[number, : len(rows)] = rows
            self._amounts[number, : len(rows)] = amounts
