"""What a policy asks of the ranking of one micro-batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.policy.items import PolicyItems
from worker.ranking_index.narrowing import Narrowing
from worker.rows import NO_ITEM


@dataclass(frozen=True)
class BatchPolicy:
    """A policy, and what it makes of each of n queries."""

    items: PolicyItems
    narrowing: Narrowing | None
    """What each query may find; None for everything."""
    pool: int
    """Length of the lists to choose from."""

    @property
    def added(self) -> NDArray[np.float32] | None:
        """What is added to the scores, by row; None for nothing."""
        return self.items.added

    def apply_to(self, scores: Tensor, part: slice) -> Tensor:
        """Return the scores of some of the queries, (n, rows), with −∞ for what is left out.

        They are changed in place.
        """
        rows, device = scores.shape[1], scores.device
        if self.added is not None:
            scores += torch.from_numpy(self.added[:rows]).to(device)
        if self.narrowing is None:
            return scores
        narrow = self.narrowing.part(part)
        if self.items.restricts:
            groups = torch.from_numpy(narrow.groups).to(device)
            scores.masked_fill_(~self.items.mask(rows, device)[groups], -torch.inf)
        if narrow.excluded.shape[1] and rows:
            leave_out(scores, torch.from_numpy(narrow.excluded).to(device))
        return scores


def leave_out(scores: Tensor, excluded: Tensor) -> None:
    """Set scores, (n, rows), of rows to be left out, (n, m), to −∞; −1 is no row."""
    spare = torch.nn.functional.pad(torch.zeros_like(scores, dtype=torch.bool), (0, 1))
    spare.scatter_(1, torch.where(excluded == NO_ITEM, scores.shape[1], excluded), value=True)
    scores.masked_fill_(spare[:, :-1], -torch.inf)
