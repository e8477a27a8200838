"""The buckets of quality by events seen: those of the protocol, and one for what comes after."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

EVENTS_SEEN_BUCKETS: tuple[tuple[str, int, int], ...] = (
    ("0", 0, 0),
    ("1", 1, 1),
    ("2", 2, 2),
    ("3-4", 3, 4),
    ("5-9", 5, 9),
    ("10+", 10, 20),
)
"""Label, first and last number of events of the user that came before, as the protocol has them."""

_AFTER = EVENTS_SEEN_BUCKETS[-1][2] + 1
_FIRST = np.array([*(first for _, first, _ in EVENTS_SEEN_BUCKETS), _AFTER])

EVENTS_SEEN_LABELS = (*(label for label, _, _ in EVENTS_SEEN_BUCKETS), f"{_AFTER}+")
"""Labels of the buckets. The protocol scores a user's first 21 events, so its "10+" ends at 20
events seen; what comes later, which only a live worker counts, is "21+"."""


def events_seen_bucket(events_seen: ArrayLike) -> NDArray[np.int64]:
    """Return the index in `EVENTS_SEEN_LABELS` of each number of events seen before."""
    return np.searchsorted(_FIRST, np.asarray(events_seen), side="right") - 1
