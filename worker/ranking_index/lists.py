"""Lists out of what was found, compiled: shifted scores put in, ties in order, reasons."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.ranking_index.narrowing import Narrowing, permits
from worker.ranking_index.simd import inner_product
from worker.rows import NO_ITEM

F32 = np.float32


@njit(cache=True, nogil=True)
def merge(
    which: NDArray[np.int64], near_rows: NDArray[np.int64], near_scores: NDArray[np.float32],
    pointers: NDArray[np.int64], rows: NDArray[np.int32], values: NDArray[np.float32],
    items: int, best: NDArray[np.int64], scores: NDArray[np.float32], deeper: NDArray[np.bool_],
    narrowing: Narrowing | None,
) -> None:  # fmt: skip
    """Write the best items where some items have scores of their own, best first, ties by row.

    Args:
        which: the queries to do, (m,), each by its place in what follows but for `near_*`.
        near_rows: items with the largest inner products, (m, d); −1 after the last one.
        near_scores: those inner products, best first, (m, d).
        pointers: items of query i with scores of their own are `pointers[i]:pointers[i + 1]`.
        rows: their rows, each once for a query, (P,); those not below `items` are left out.
        values: their scores, (P,); −∞ or NaN leaves out.
        items: rows there are.
        best: rows of the lists go here, (n, k), filled with −1.
        scores: their scores, (n, k), filled with −∞.
        deeper: (n,), true where d was too small to be sure; the list is to be made again.
        narrowing: which of the items with the largest inner products each query may find, where
            that was not heeded when they were searched for; else None.
    """
    k, depth = best.shape[1], near_rows.shape[1]
    marks = np.zeros(items, np.int32)
    for i in range(len(which)):
        q, count = which[i], 0
        own = pointers[q + 1] - pointers[q]
        for p in range(pointers[q], pointers[q + 1]):
            row = rows[p]
            if 0 <= row < items:
                marks[row] = i + 1
                count = _insert(best, scores, q, count, row, values[p])
        for c in range(depth):
            row = near_rows[i, c]
            if row < 0:
                break
            if narrowing is not None and not permits(
                narrowing.allowed, narrowing.groups[q], narrowing.excluded, q, row
            ):
                continue
            if marks[row] != i + 1:
                count = _insert(best, scores, q, count, row, near_scores[i, c])
        sure = depth >= k + own
        if narrowing is not None:
            sure = False
        # Whatever was not found is no better than the last one that was.
        deeper[q] = (
            near_rows[i, depth - 1] >= 0
            and not sure
            and (count < k or scores[q, k - 1] <= near_scores[i, depth - 1])
        )


@njit(cache=True, nogil=True)
def _insert(
    best: NDArray[np.int64], scores: NDArray[np.float32], q: int, count: int, row: int, score: float
) -> int:
    k = best.shape[1]
    if not score > -np.inf:
        return count
    if count == k:
        last = scores[q, k - 1]
        if score < last or (score == last and row > best[q, k - 1]):
            return count
    at = min(count, k - 1)
    while at > 0 and (
        scores[q, at - 1] < score or (scores[q, at - 1] == score and best[q, at - 1] > row)
    ):
        scores[q, at], best[q, at] = scores[q, at - 1], best[q, at - 1]
        at -= 1
    scores[q, at], best[q, at] = score, row
    return count if count == k else count + 1


@njit(cache=True, nogil=True)
def own_products(
    queries: NDArray[np.float32], vectors: NDArray[np.float32], findable: NDArray[np.bool_],
    rows: NDArray[np.int64], values: NDArray[np.float32],
) -> None:  # fmt: skip
    """Write the inner products of queries (n, dim) with rows (n, r); −∞ for none and the rest."""
    dim = queries.shape[1]
    for q in range(rows.shape[0]):
        for c in range(rows.shape[1]):
            row = rows[q, c]
            values[q, c] = -np.inf
            if 0 <= row < len(findable) and findable[row]:
                values[q, c] = inner_product(queries[q].ctypes.data, vectors[row].ctypes.data, dim)


@njit(cache=True, nogil=True)
def most_similar(
    listed: NDArray[np.int64], recent: NDArray[np.int64], vectors: NDArray[np.float32],
    closest: NDArray[np.int64],
) -> None:  # fmt: skip
    """Write for each item listed, (n, k), the recent row, (n, r), with the largest inner product.

    −1 where there is no item, or no recent one; the newer one among equals.
    """
    at, row_bytes, dim = vectors.ctypes.data, vectors.strides[0], vectors.shape[1]
    for q in range(listed.shape[0]):
        for c in range(listed.shape[1]):
            item, most = listed[q, c], -np.inf
            closest[q, c] = NO_ITEM
            if item < 0:
                continue
            for r in range(recent.shape[1]):
                row = recent[q, r]
                if row < 0:
                    continue
                product = inner_product(at + item * row_bytes, at + row * row_bytes, dim)
                if product > most:
                    most = product
                    closest[q, c] = row
