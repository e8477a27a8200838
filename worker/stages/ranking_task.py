"""What a batch is ranked by, for either way of ranking."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from worker.catalogue import Catalogue
from worker.item_memory.memory import ItemMemory, Occurrences
from worker.model.interface import AdaptationModel
from worker.policy.batch import BatchPolicy
from worker.trending.batch import BatchPrior


@dataclass(frozen=True)
class Mixing:
    """An item memory, and the events that it goes through; a query for each that is wanted."""

    memory: ItemMemory
    events: Occurrences

    def part(self, queries: slice) -> Occurrences:
        """Return the events of some of the queries, with those that lead up to them.

        Parts that follow one another have all events, each once.
        """
        ends = self._ends
        start = int(ends[queries.start - 1]) if queries.start else 0
        stop = int(ends[queries.stop - 1]) if queries.stop < len(ends) else len(self.events.items)
        return self.events.part(slice(start, stop))

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        """Position after the event of each query."""
        return np.flatnonzero(self.events.wanted) + 1


@dataclass(frozen=True)
class RankingTask:
    """n queries and all that decides on their lists; see `worker.stages.rank.rank`."""

    queries: Tensor
    """(n, dim)."""
    recent_rows: NDArray[np.int64]
    """(n, r)."""
    catalogue: Catalogue
    model: AdaptationModel
    mixing: Mixing | None
    """None ranks by the queries and the shift of recent items alone."""
    k: int
    """Length of the lists."""
    policy: BatchPolicy | None = None
    """None ranks by the scores alone."""
    prior: BatchPrior | None = None
    """None adds nothing to the scores."""

    @property
    def pool(self) -> int:
        """Length of the lists to be found: k, or more where the policy is to choose among them."""
        return self.k if self.policy is None else self.policy.pool


Lists = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64], NDArray[np.float64] | None]
"""Rows, scores, reasons and propensities, (n, k) each; see `worker.stages.rank.Ranked`."""
