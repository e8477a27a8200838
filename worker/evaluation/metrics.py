"""Hit rate and mean reciprocal rank, overall and by how many events of the user came before."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

TOP = 20

EVENTS_SEEN_BUCKETS: tuple[tuple[str, int, int], ...] = (
    ("0", 0, 0),
    ("1", 1, 1),
    ("2", 2, 2),
    ("3-4", 3, 4),
    ("5-9", 5, 9),
    ("10+", 10, 20),
)
"""Label, first and last number of events seen."""


class Quality(msgspec.Struct, frozen=True, kw_only=True):
    """Ranking quality over n events."""

    hit_rate: float | None = msgspec.field(name="hr@20")
    """Share of events whose item was among the first 20; None over no events."""
    reciprocal_rank: float | None = msgspec.field(name="mrr@20")
    """Mean of 1/(1 + rank), 0 beyond the first 20; None over no events."""
    n: int


class ModelQuality(msgspec.Struct, frozen=True, kw_only=True):
    """Quality of one model."""

    overall: Quality
    by_events_seen: dict[str, Quality]
    seconds: float | None = None
    """How long the scoring took."""


def quality(ranks: NDArray[np.int32]) -> Quality:
    """Summarise 0-based ranks (n,), all of them ≥ 0."""
    if not len(ranks):
        return Quality(hit_rate=None, reciprocal_rank=None, n=0)
    hit = ranks < TOP
    reciprocal = np.where(hit, 1.0 / (1.0 + ranks), 0.0)
    return Quality(
        hit_rate=float(hit.mean()), reciprocal_rank=float(reciprocal.mean()), n=len(ranks)
    )


def summarise(
    ranks: NDArray[np.int32], events_seen: NDArray[np.int32], seconds: float | None = None
) -> ModelQuality:
    """Summarise the ranks of a stream's events; negative ranks are events that are not scored.

    Args:
        ranks: (n,).
        events_seen: the user's events before each event, (n,).
        seconds: how long the scoring took.
    """
    counted = ranks >= 0
    ranks, events_seen = ranks[counted], events_seen[counted]
    buckets = {
        label: quality(ranks[(events_seen >= first) & (events_seen <= last)])
        for label, first, last in EVENTS_SEEN_BUCKETS
    }
    return ModelQuality(overall=quality(ranks), by_events_seen=buckets, seconds=seconds)
