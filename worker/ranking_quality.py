"""Hit rate and mean reciprocal rank of a set of ranks."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

TOP = 20


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """Ranking quality over n events."""

    hit_rate: float | None = msgspec.field(name="hr@20")
    """Share of events whose item was among the first 20; None over no events."""
    reciprocal_rank: float | None = msgspec.field(name="mrr@20")
    """Mean of 1/(1 + rank), 0 beyond the first 20; None over no events."""
    n: int


def quality(ranks: NDArray[np.int32]) -> Quality:
    """Summarise 0-based ranks (n,), all of them ≥ 0."""
    if not len(ranks):
        return Quality(hit_rate=None, reciprocal_rank=None, n=0)
    hit = ranks < TOP
    reciprocal = np.where(hit, 1.0 / (1.0 + ranks), 0.0)
    return Quality(
        hit_rate=float(hit.mean()), reciprocal_rank=float(reciprocal.mean()), n=len(ranks)
    )
