"""Exact full-catalogue ranks of known targets, for training's validation and for evaluation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_CHUNK_SCORES = 1 << 25
"""Scores held at once: 128 MiB of float32."""

_TIE = 1e-6
"""Scores this close, relative to the target's, are one score with float32 rounding on it."""


def target_ranks(
    queries: Tensor,
    item_vectors: Tensor,
    targets: Tensor,
    *,
    excluded: Tensor | None = None,
    shift: Callable[[Tensor, slice], None] = lambda scores, rows: None,
) -> Tensor:
    """Return the 0-based rank of each target among all items, (n,) int64.

    Items are ordered by score, and by row among equal scores: items of the same text have the same
    vector, and a target must not win such a tie by luck. Sort the rows by popularity to break ties
    by it.

    Args:
        queries: (n, d).
        item_vectors: (items, d).
        targets: rows of the targets, (n,).
        excluded: rows that do not count, (n, m); pad with the target's own row.
        shift: given the scores of a slice of the queries, changes them in place before ranking.
    """
    rows = torch.arange(len(item_vectors), device=item_vectors.device)
    chunk = max(1, _CHUNK_SCORES // max(1, len(item_vectors)))
    ranks = [torch.empty(0, dtype=torch.long, device=queries.device)]
    for start in range(0, len(queries), chunk):
        part = slice(start, start + chunk)
        scores = queries[part] @ item_vectors.T
        shift(scores, part)
        target = targets[part].unsqueeze(1)
        own = scores.gather(1, target)
        margin = _TIE * own.abs()
        preferred = (scores >= own - margin) & (rows < target)
        preferred |= scores > own + margin
        if excluded is not None:
            preferred.scatter_(1, excluded[part], value=False)
        ranks.append(preferred.sum(dim=1))
    return torch.cat(ranks)
