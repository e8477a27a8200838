"""What training tells of an epoch, and what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from worker.item_memory.memory import ItemMemory
from worker.model.meta_model import MetaRecommender
from worker.ranking_quality import Quality


@dataclass(frozen=True)
class Epoch:
    """One pass over the training streams."""

    number: int
    loss: float
    """Mean sampled softmax loss, nats."""
    validation: Quality
    """On the validation users, over all items known in training."""
    best: bool


class Fitted(NamedTuple):
    """What the first training finds out, besides the weights. See `TrainedModel`."""

    anchors: Tensor
    epochs: list[Epoch]
    memory: ItemMemory | None
    validation: Quality


@dataclass(frozen=True)
class TrainedModel:
    """What training returns."""

    model: MetaRecommender
    known: NDArray[np.int32]
    """Codes of the items seen in training, by row of the id embedding."""
    counts: NDArray[np.int64]
    """Training events of every item, (items,)."""
    anchors: Tensor
    """Vectors of the anchors drawn for serving, (M, d)."""
    epochs: list[Epoch]
    memory: ItemMemory | None
    """What the training events taught about items, by item code."""
    validation: Quality
    """Of the best epoch, with the item memory; without one, with the repeat bias."""

    @property
    def best_epoch(self) -> int:
        """The epoch kept, from 1."""
        return next(epoch.number for epoch in reversed(self.epochs) if epoch.best)
