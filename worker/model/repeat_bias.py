"""How much sooner, or later, a user acts again on an item just acted on.

The inner loop pulls the query towards the item just seen, so that very item scores highest next.
Whether it should is a habit of the shop (a video is watched again, a product page rarely opened
twice in a row), which the inner product cannot express. So the scores of a user's latest items are
shifted by a learned amount, one per recency.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from worker.model.config import ModelConfig
from worker.rows import NO_ITEM


class RepeatBias(nn.Module):
    """Score shift of the user's r-th most recent item, r = 0 being the latest."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        # Fitted after the outer loop (`worker.training.repeat_fit`), not by it: repeats are too
        # rare among sampled negatives to learn from.
        self.shift = nn.Parameter(torch.zeros(config.recent), requires_grad=False)

    def amounts(self, recent: Tensor) -> Tensor:
        """Return the shift of each recent item, (n, r); 0 for padding and for older duplicates.

        Args:
            recent: rows of the user's latest items, newest first, (n, r) with r ≤ the number of
                shifts; `NO_ITEM` pads.
        """
        same = recent.unsqueeze(2) == recent.unsqueeze(1)
        has_newer = same.tril(diagonal=-1).any(dim=2)
        shift = self.shift[: recent.shape[1]].expand(len(recent), -1)
        return shift.masked_fill(has_newer | (recent == NO_ITEM), 0.0)

    def apply_to(self, scores: Tensor, recent: Tensor) -> None:
        """Shift scores (n, items) in place; see `amounts`. Items beyond the last shift stay."""
        recent = recent[:, : len(self.shift)]
        scores.scatter_add_(1, recent.clamp(min=0), self.amounts(recent))
