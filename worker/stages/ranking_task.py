"""What a batch is ranked by, for either way of ranking."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from worker.catalogue import Catalogue
from worker.item_memory.memory import ItemMemory, Occurrences
from worker.model.interface import AdaptationModel
from worker.policy.batch import BatchPolicy


@dataclass(frozen=True)
class Mixing:
    """An item memory, and the events that it goes through, one for each query."""

    memory: ItemMemory
    events: Occurrences


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

    @property
    def pool(self) -> int:
        """Length of the lists to be found: k, or more where the policy is to choose among them."""
        return self.k if self.policy is None else self.policy.pool


Lists = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64], NDArray[np.float64] | None]
"""Rows, scores, reasons and propensities, (n, k) each; see `worker.stages.rank.Ranked`."""
