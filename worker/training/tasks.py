"""Further tasks that a query can be trained on beside the next item: multi-task learning.

Off by default; docs/ablations.md has what they are worth. Their heads serve training alone and are
in no bundle (compare Caruana 1997, "Multitask Learning").
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from schemas.clickstream import EVENT_TYPE_INDEX, EventType
from schemas.errors import DataError
from schemas.settings import TrainingSettings
from worker.training.sequences import StreamBatch

SESSION_GAP_S = 1800.0
"""A pause this long ends a session: the half hour that web analytics commonly takes."""

NO_CATEGORY = -1
_MOST_CATEGORIES = 512


def category_codes(categories: list[str] | None, items: int) -> NDArray[np.int64]:
    """Return a code for each item's category, (items,): the most common ones, else `NO_CATEGORY`.

    Args:
        categories: of each item, blank for none; None if there are none at all.
        items: length of the result.
    """
    if categories is None:
        return np.full(items, NO_CATEGORY)
    counts = Counter(name for name in categories if name)
    codes = {name: code for code, (name, _) in enumerate(counts.most_common(_MOST_CATEGORIES))}
    return np.array([codes.get(name, NO_CATEGORY) for name in categories], np.int64)


class FurtherTasks(nn.Module):
    """Linear heads on the query for the next event's type, its category, and a purchase ahead.

    Args:
        settings: the weight of each task; 0 leaves it out.
        categories: code of each item's category, (items,).

    Raises:
        DataError: categories are to be predicted, and no item has one.
    """

    categories: Tensor

    def __init__(self, settings: TrainingSettings, categories: NDArray[np.int64]) -> None:
        super().__init__()
        if settings.category_weight and (categories == NO_CATEGORY).all():
            raise DataError(
                "training.category_weight is set, but no item has a category: give the items a"
                " column categories or category_code, or set it to 0"
            )
        self._weights = (settings.type_weight, settings.category_weight, settings.purchase_weight)
        self.type_head = nn.Linear(settings.dim, len(EventType))
        self.category_head = nn.Linear(settings.dim, int(categories.max(initial=0)) + 1)
        self.purchase_head = nn.Linear(settings.dim, 1)
        self.register_buffer("categories", torch.from_numpy(categories), persistent=False)

    @staticmethod
    def wanted(settings: TrainingSettings) -> bool:
        """Whether the settings give any task a weight."""
        return any((settings.type_weight, settings.category_weight, settings.purchase_weight))

    def forward(self, queries: Tensor, batch: StreamBatch) -> Tensor:
        """Return the weighted sum of the tasks' mean losses, in nats.

        Args:
            queries: before each event, (n, T, d).
            batch: the events.
        """
        at = batch.mask
        found = queries[at]
        of_type, of_category, of_purchase = self._weights
        loss = queries.new_zeros(())
        if of_type:
            loss = loss + of_type * F.cross_entropy(self.type_head(found), batch.types[at])
        if of_category:
            codes = self.categories[batch.items[at]]
            given = codes != NO_CATEGORY
            if given.any():
                logits = self.category_head(found[given])
                loss = loss + of_category * F.cross_entropy(logits, codes[given])
        if of_purchase:
            ahead = purchase_ahead(batch)[at].to(found.dtype)
            logits = self.purchase_head(found).squeeze(1)
            loss = loss + of_purchase * F.binary_cross_entropy_with_logits(logits, ahead)
        return loss


def purchase_ahead(batch: StreamBatch) -> Tensor:
    """Return which events are purchases or are followed by one in their session, bool (n, T)."""
    bought = (batch.types == EVENT_TYPE_INDEX[EventType.PURCHASE]) & batch.mask
    ahead = torch.zeros_like(bought)
    later = torch.zeros_like(bought[:, 0])
    for t in range(bought.shape[1] - 1, -1, -1):
        later = bought[:, t] | later
        ahead[:, t] = later
        starts = (batch.gaps[:, t] < 0) | (batch.gaps[:, t] > SESSION_GAP_S)
        later = later & ~starts
    return ahead
