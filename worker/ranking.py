"""Exact full-catalogue ranks of known targets, for training's validation and for evaluation."""

from __future__ import annotations

import torch
from torch import Tensor

_CHUNK_SCORES = 1 << 25
"""Scores held at once: 128 MiB of float32."""


def target_ranks(queries: Tensor, item_vectors: Tensor, targets: Tensor) -> Tensor:
    """Return the 0-based rank of each target among all items, (n,) int64.

    Items are ordered by score, and by code among equal scores: items whose texts are the same have
    the same vector, and a target must not win such a tie by luck.

    Args:
        queries: (n, d).
        item_vectors: (items, d).
        targets: item codes, (n,).
    """
    codes = torch.arange(len(item_vectors), device=item_vectors.device)
    chunk = max(1, _CHUNK_SCORES // max(1, len(item_vectors)))
    ranks = [queries.new_empty(0, dtype=torch.long)]
    for query, target in zip(queries.split(chunk), targets.split(chunk), strict=True):
        scores = query @ item_vectors.T
        own = scores.gather(1, target.unsqueeze(1))
        # A target's own score must equal itself whatever the kernel does with the rest of the row,
        # so ties are found on the scores of this one product.
        before = (scores > own) | ((scores == own) & (codes < target.unsqueeze(1)))
        ranks.append(before.sum(dim=1))
    return torch.cat(ranks)
