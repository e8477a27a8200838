"""Pools with room for a capped list: what is in the way of it gives way to what comes after.

Of a brand with more than n items in a pool, n being the cap, only the best n are wanted where the
rest leave too few for a list. In their place come the next best items of other brands. So the best
list under the cap can always be chosen from the pool.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.ranking_index.narrowing import WORD, Narrowing
from worker.rows import NO_ITEM

_NO_ITEM = NO_ITEM
ENOUGH = -1


@njit(cache=True, nogil=True)
def thin(
    rows: NDArray[np.int64], scores: NDArray[np.float32], brands: NDArray[np.int32], cap: int,
    k: int, counts: NDArray[np.int64],
) -> NDArray[np.int64]:  # fmt: skip
    """Make room in pools that hold fewer than k items under the cap; return how many they keep.

    Args:
        rows: of the candidates, best first, (n, P); changed in place.
        scores: likewise.
        brands: by row, 0 for none, which is not capped.
        cap: most items of a brand.
        k: length of a list.
        counts: zeros, one for each brand, and so again afterwards.

    Returns:
        How many candidates were kept, (n,), or `ENOUGH` where that sufficed, or where there is
        nothing but what is in the pool.
    """
    kept = np.full(len(rows), ENOUGH, np.int64)
    most = rows.shape[1]
    for q in range(len(rows)):
        fit, size = 0, 0
        while size < most and rows[q, size] != _NO_ITEM:
            brand = brands[rows[q, size]]
            fit += brand == 0 or counts[brand] < cap
            counts[brand] += 1
            size += 1
        for p in range(size):
            counts[brands[rows[q, p]]] = 0
        if fit >= k or size < most:
            continue
        at = 0
        for p in range(most):
            row, brand = rows[q, p], brands[rows[q, p]]
            if brand == 0 or counts[brand] < cap:
                rows[q, at], scores[q, at] = row, scores[q, p]
                at += 1
            counts[brand] += 1
        kept[q] = at
        for p in range(most):
            counts[brands[rows[q, p]]] = 0
        rows[q, at:], scores[q, at:] = _NO_ITEM, -np.inf
    return kept


@njit(cache=True, nogil=True)
def append(
    rows: NDArray[np.int64], scores: NDArray[np.float32], which: NDArray[np.int64],
    kept: NDArray[np.int64], more: NDArray[np.int64], more_scores: NDArray[np.float32],
) -> None:  # fmt: skip
    """Fill pools of the queries `which`, (u,), with more candidates, (u, P)."""
    for i in range(len(which)):
        for c in range(rows.shape[1] - kept[i]):
            rows[which[i], kept[i] + c] = more[i, c]
            scores[which[i], kept[i] + c] = more_scores[i, c]


def beyond(
    base: Narrowing,
    rows: NDArray[np.int64],
    brands: NDArray[np.int32],
    cap: int,
    counts: NDArray[np.int64],
) -> Narrowing:
    """Return what thinned pools may be filled with: neither what they hold, nor of full brands.

    Args:
        base: what the queries may find, u of them.
        rows: of the thinned pools, (u, P).
        brands: as for `thin`.
        cap: as for `thin`.
        counts: as for `thin`.
    """
    allowed = np.empty((len(rows), base.allowed.shape[1]), np.uint64)
    _without_full_brands(base.allowed, base.groups, rows, brands, cap, counts, allowed)
    excluded = np.sort(np.concatenate([base.excluded, rows], axis=1), axis=1)
    return Narrowing(allowed, np.arange(len(rows)), excluded)


@njit(cache=True, nogil=True)
def _without_full_brands(
    allowed: NDArray[np.uint64], groups: NDArray[np.int64], pools: NDArray[np.int64],
    brands: NDArray[np.int32], cap: int, counts: NDArray[np.int64], out: NDArray[np.uint64],
) -> None:  # fmt: skip
    for q in range(len(pools)):
        for p in range(pools.shape[1]):
            if pools[q, p] != _NO_ITEM:
                counts[brands[pools[q, p]]] += 1
        counts[0] = 0
        for word in range(allowed.shape[1]):
            bits = allowed[groups[q], word]
            for bit in range(WORD):
                if counts[brands[WORD * word + bit]] >= cap:
                    bits &= ~(np.uint64(1) << np.uint64(bit))
            out[q, word] = bits
        for p in range(pools.shape[1]):
            if pools[q, p] != _NO_ITEM:
                counts[brands[pools[q, p]]] = 0
