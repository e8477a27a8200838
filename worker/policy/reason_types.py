"""What a user did with the items that explain a list."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.rows import NO_ITEM

_NO_ITEM = NO_ITEM


@njit(cache=True, nogil=True)
def reason_types(
    reasons: NDArray[np.int64], recent: NDArray[np.int64], types: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Return the type of the latest event on each item that explains another, (n, k).

    Args:
        reasons: rows of these items, (n, k), or `NO_ITEM`, whose type is void.
        recent: rows of the user's recent items, newest first, (n, r).
        types: of these events, (n, r).
    """
    found = np.zeros(reasons.shape, np.uint8)
    for q in range(reasons.shape[0]):
        for c in range(reasons.shape[1]):
            if reasons[q, c] == _NO_ITEM:
                continue
            for r in range(recent.shape[1]):
                if recent[q, r] == reasons[q, c]:
                    found[q, c] = types[q, r]
                    break
    return found
