"""A closed-form ridge head on fixed item vectors, refitted before each event.

The base learner of R2-D2 (Bertinetto, Henriques, Torr and Vedaldi, "Meta-learning with
differentiable closed-form solvers", ICLR 2019, arXiv:1805.08136), over item vectors from
`item_vectors` in place of a meta-learned embedding. With X (n, d) the vectors of a user's last n
events and c_m = recency^m the weight of the event m steps before the newest, the head is

  w = argmin_w Σ_m c_m · (1 − w·x_m)² + λ · |w|² = Zᵀ · (Z·Zᵀ + λ·I)⁻¹ · √c,  Z = diag(√c) · X,

by Woodbury's identity a system of n equations, not of d. Item j scores w·v_j. A user without events
has the zero vector: the popular items.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.data import EventLog
from worker.evaluation.baselines.base import Setting, settings_of
from worker.evaluation.baselines.item_vectors import item_vectors
from worker.evaluation.baselines.neural.catalogue import Catalogue
from worker.evaluation.baselines.neural.scoring import StreamScorer
from worker.evaluation.baselines.prefixes import NO_EVENT, LastResult, recent_before
from worker.evaluation.top_lists import TopLists


@dataclass(frozen=True, kw_only=True)
class RidgeHead:
    """Per-user ridge regression on the vectors of the user's own items."""

    size: int = 256
    """Size of the item vectors."""
    power: float = 0.5
    """Of the singular values; see `item_vectors`."""
    window: int = 5
    """How many events apart co-occurring items may be."""
    penalty: float = 10.0
    """λ; item vectors have a mean norm of 1."""
    recency: float = 0.7
    """Weight factor per step back; 1 weighs all events alike."""
    query_length: int = 20
    """How many of a user's last events the head is fitted to."""
    skip_recent: int = 1
    """Items of the user's last that many events are not recommended again."""
    exclude_seen: bool = False
    """See `replay`."""
    vectors: LastResult[Tensor] = field(default_factory=LastResult, repr=False, compare=False)
    """Shared by candidates that differ in the head alone."""

    @property
    def name(self) -> str:
        """The name of the method in reports."""
        return "ridge"

    @property
    def settings(self) -> dict[str, Setting]:
        """The hyper-parameters."""
        return settings_of(self, leave_out=("exclude_seen", "vectors"))

    def prequential_ranks(
        self,
        train: EventLog,
        stream: EventLog,
        scored: NDArray[np.bool_],
        n_items: int,
        lists: TopLists | None = None,
    ) -> NDArray[np.int32]:
        """See `StreamRecommender.prequential_ranks`."""
        catalogue = Catalogue(train, n_items)
        vectors = self.vectors.get(
            train,
            (n_items, self.size, self.window, self.power),
            lambda: item_vectors(
                catalogue.by_row(train),
                n_items,
                size=self.size,
                window=self.window,
                power=self.power,
            ),
        )

        def queries(rows: Tensor) -> Tensor:
            windows = recent_before(rows, self.query_length)
            heads = ridge_heads(vectors, windows.flatten(0, 1), self.penalty, self.recency)
            return heads.reshape(*rows.shape, -1)

        scorer = StreamScorer(
            queries,
            vectors,
            catalogue,
            exclude_seen=self.exclude_seen,
            skip_recent=self.skip_recent,
        )
        return scorer.ranks(train, stream, scored, lists)


def ridge_heads(vectors: Tensor, windows: Tensor, penalty: float, recency: float) -> Tensor:
    """Solve for the head of each of n pasts.

    Args:
        vectors: of the items, (items, d).
        windows: items of the pasts, newest first, (n, length); `NO_EVENT` fills short ones.
        penalty: λ, positive.
        recency: weight factor per step back.

    Returns:
        w, (n, d).
    """
    present = windows != NO_EVENT
    steps = torch.arange(windows.shape[1], device=windows.device)
    roots = torch.where(present, recency ** (0.5 * steps), 0.0).to(vectors.dtype)
    weighted = vectors[windows.clamp_min(0)] * roots.unsqueeze(2)
    gram = weighted @ weighted.mT
    gram.diagonal(dim1=1, dim2=2).add_(penalty)
    duals = torch.linalg.solve(gram, roots)
    heads: Tensor = (duals.unsqueeze(1) @ weighted).squeeze(1)
    return heads
