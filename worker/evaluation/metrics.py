"""Quality of a model, overall and by how many events of the user came before."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from worker.events_seen import EVENTS_SEEN_BUCKETS
from worker.ranking_quality import Quality, quality


class ModelQuality(msgspec.Struct, frozen=True, kw_only=True):
    """Quality of one model."""

    overall: Quality
    by_events_seen: dict[str, Quality]
    seconds: float | None = None
    """How long tuning, training and scoring took, all together."""


def summarise(
    ranks: NDArray[np.int32], events_seen: NDArray[np.int32], seconds: float | None = None
) -> ModelQuality:
    """Summarise the ranks of a stream's events; negative ranks are events that are not scored.

    Args:
        ranks: (n,).
        events_seen: the user's events before each event, (n,).
        seconds: how long it took.
    """
    counted = ranks >= 0
    ranks = ranks[counted]
    buckets = {
        label: quality(ranks[of_bucket])
        for label, of_bucket in bucket_masks(events_seen[counted]).items()
    }
    return ModelQuality(overall=quality(ranks), by_events_seen=buckets, seconds=seconds)


def bucket_masks(events_seen: NDArray[np.int32]) -> dict[str, NDArray[np.bool_]]:
    """Return which events (n,) belong to each bucket, by label."""
    return {
        label: (events_seen >= first) & (events_seen <= last)
        for label, first, last in EVENTS_SEEN_BUCKETS
    }
