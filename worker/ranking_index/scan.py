"""The scan of all items for the largest inner products, compiled.

A query q and an item v are coded in 8 bits, q ≈ a·q̂ and v ≈ s·v̂ with integer q̂ and v̂. Then

    |q·v − a·s·q̂·v̂| = |(q − a·q̂)·v + a·q̂·(v − s·v̂)| ≤ ‖q − a·q̂‖ ‖v‖ + ‖a·q̂‖ ‖v − s·v̂‖,

by the triangle inequality and that of Cauchy and Schwarz. So every inner product has an upper and a
lower bound at the price of one in 8 bits. The k-th largest lower bound so far is a threshold: items
whose upper bound is below cannot be among the k best. The few others are scored in float32: what is
returned is what scoring everything would return. (Compare the scalar quantisation with re-ranking
of vector indices, which re-ranks a fixed number and is not exact.)

All bounds are divided by the query's scale a. The constants E = ‖q − a·q̂‖ / a and M = ‖q̂‖ belong to
the query, the norm n = ‖v‖ and error r = ‖v − s·v̂‖ to the item: the bounds are s·q̂·v̂ ± (E·n + M·r).

Two arguments are None for a plain search, and then are not compiled in: a narrowing, which takes
items away before their bounds count for anything, and amounts that are added to items' scores, of
which b / a is added to the bounds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numba.cpython.unsafe.numbers import trailing_zeros
from numpy.typing import NDArray

from worker.ranking_index.narrowing import Narrowing
from worker.ranking_index.simd import (
    ITEMS,
    LANES,
    QUERIES,
    QUERY_LEVELS,
    QUERY_SHIFT,
    ROUNDING_OF_ADDED,
    inner_product,
    prefetch,
    score_raised_tile,
    score_tile,
)

F32 = np.float32

_lowest_bit: Any = trailing_zeros  # its type says that it never returns

ITEM_LEVELS = 127
_ROUNDING = 2.0**-22
"""Bounds what float32 adds to the errors, per component and relative to ‖q‖ ‖v‖: twice, for the
product and for the bound itself, the 2^−24 of each operation, and twice that to be safe."""
_TILES_AT_ONCE = 8
"""Tiles of items that are compared with all queries before the next ones: 48 kB at 96 components,
which stays in the first-level cache or close to it."""

_AHEAD = 4
"""Items whose vectors are on their way while one is scored: they lie anywhere in memory."""

SCALE, NORM, ERROR = range(3)


class Codes(NamedTuple):
    """Items in 8 bits; the capacity is a multiple of `ITEMS`."""

    codes: NDArray[np.int8]
    """v̂: (capacity / LANES, width / 4, LANES, 4), width being the dimension filled up to a multiple
    of 4 with zeros."""
    offsets: NDArray[np.int32]
    """What the sum over the shifted codes of a query must start from, (capacity,)."""
    numbers: NDArray[np.float32]
    """s, n and r of each item, (3, capacity); n = −∞ for items to leave out."""


class Queries(NamedTuple):
    """Queries in 8 bits; their number is filled up to a multiple of `QUERIES`."""

    codes: NDArray[np.uint8]
    """q̂ + QUERY_SHIFT, (n, width)."""
    bounds: NDArray[np.float32]
    """E, M and threshold, (n, 3); the threshold is ∞ for those that are to find nothing."""
    scales: NDArray[np.float32]
    """a, (n,)."""


class Survivors(NamedTuple):
    """Items that may be among the best of a query so far, by row; n queries, room for c each."""

    rows: NDArray[np.int64]
    """(n, c)."""
    upper: NDArray[np.float32]
    """Their upper bounds, (n, c)."""
    sizes: NDArray[np.int64]
    """(n,)."""
    lower: NDArray[np.float32]
    """The k largest lower bounds so far, (n, k): heaps with the least of them first."""


@njit(cache=True, nogil=True, error_model="numpy")
def encode_items(codes: Codes, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
    """Code vectors (m, dim) into rows; one that is not finite is left out from then on."""
    dim = vectors.shape[1]
    for i in range(len(rows)):
        row, vector = rows[i], vectors[i]
        block, lane = row // LANES, row % LANES
        largest, square = F32(0.0), 0.0
        for c in range(dim):
            largest = max(largest, abs(vector[c]))
            square += float(vector[c]) * float(vector[c])
        finite = np.isfinite(square)
        scale = F32(largest / F32(ITEM_LEVELS)) if finite else F32(0.0)
        total, error = 0, 0.0
        for c in range(dim):
            code = int(np.rint(vector[c] / scale)) if scale > 0.0 else 0
            # A scale so small that it was rounded itself may lead beyond.
            code = max(-ITEM_LEVELS, min(ITEM_LEVELS, code))
            codes.codes[block, c // 4, lane, c % 4] = code
            total += code
            left = float(vector[c]) - float(scale) * code
            error += left * left
        codes.offsets[row] = -QUERY_SHIFT * total
        codes.numbers[SCALE, row] = scale
        codes.numbers[NORM, row] = np.sqrt(square) if finite else -np.inf
        codes.numbers[ERROR, row] = np.sqrt(error) if finite else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def encode_queries(vectors: NDArray[np.float32], width: int) -> Queries:
    """Code queries (n, dim); one that is not finite will find nothing."""
    n, dim = vectors.shape
    room = -(-max(n, 1) // QUERIES) * QUERIES
    codes = np.full((room, width), QUERY_SHIFT, np.uint8)
    bounds = np.zeros((room, 3), F32)
    bounds[:, 2] = np.inf
    scales = np.ones(room, F32)
    for i in range(n):
        largest, square = F32(0.0), 0.0
        for c in range(dim):
            largest = max(largest, abs(vectors[i, c]))
            square += float(vectors[i, c]) * float(vectors[i, c])
        if not np.isfinite(square):
            continue
        scale = F32(largest / F32(QUERY_LEVELS))
        if scale == 0.0:
            scale = F32(1.0)
        error, length = 0.0, 0.0
        for c in range(dim):
            code = int(np.rint(vectors[i, c] / scale))
            code = max(-QUERY_LEVELS, min(QUERY_LEVELS, code))
            codes[i, c] = code + QUERY_SHIFT
            left = float(vectors[i, c]) - float(scale) * code
            error += left * left
            length += float(code) * float(code)
        rounding = (dim + LANES) * _ROUNDING * np.sqrt(square)
        bounds[i, 0] = (np.sqrt(error) + rounding) / scale
        bounds[i, 1] = np.sqrt(length)
        bounds[i, 2] = np.finfo(F32).min
        scales[i] = scale
    return Queries(codes, bounds, scales)


@njit(cache=True, nogil=True, error_model="numpy")
def scan(  # noqa: PLR0912  # a third of the branches are gone in what is compiled
    codes: Codes,
    rows: int,
    queries: Queries,
    exact: NDArray[np.float32],
    vectors: NDArray[np.float32],
    found: Survivors,
    narrowing: Narrowing | None,
    added: NDArray[np.float32] | None,
) -> None:
    """Collect for each query the items that may be among its k best.

    Args:
        codes: of the items.
        rows: how many rows there are.
        queries: coded.
        exact: the same queries in float32, (n, dim).
        vectors: the items in float32, (rows, dim).
        found: empty, with all lower bounds at −∞; takes what is found. Its room is more than k.
        narrowing: which items each query may find; None for all.
        added: to items' scores, finite, as many as the codes' capacity; None for nothing.
    """
    width = codes.codes.shape[1] * 4
    products, masks = np.empty(QUERIES * ITEMS, F32), np.empty(QUERIES, np.uint64)
    # Addresses and arrays by themselves: a view, or a tuple passed on, counts references each time.
    of_items, numbers, offsets = (
        codes.codes.ctypes.data, codes.numbers.ctypes.data, codes.offsets.ctypes.data
    )  # fmt: skip
    of_queries, of_bounds = queries.codes.ctypes.data, queries.bounds.ctypes.data
    products_at, masks_at = products.ctypes.data, masks.ctypes.data
    norms, errors, bounds = codes.numbers[NORM], codes.numbers[ERROR], queries.bounds
    kept, upper, sizes, lower = found.rows, found.upper, found.sizes, found.lower
    room = kept.shape[1]
    stride, step = codes.numbers.strides[0], _TILES_AT_ONCE * ITEMS
    if narrowing is not None:
        allowed, groups, excluded = narrowing.allowed, narrowing.groups, narrowing.excluded
        passed = np.zeros(len(exact), np.int64)
    if added is not None:
        inverses = F32(1.0) / queries.scales
        added_at, inverses_at = added.ctypes.data, inverses.ctypes.data
    for first in range(0, rows, step):
        last = min(first + step, rows)
        for tile in range(0, len(bounds), QUERIES):
            for item in range(first, last, ITEMS):
                if added is None:
                    score_tile(
                        of_queries + tile * width, of_bounds + tile * 12, of_items + item * width,
                        offsets + item * 4, numbers + item * 4, stride, width, products_at,
                        masks_at,
                    )  # fmt: skip
                else:
                    score_raised_tile(
                        of_queries + tile * width, of_bounds + tile * 12, of_items + item * width,
                        offsets + item * 4, numbers + item * 4, stride, width, products_at,
                        masks_at, added_at + item * 4, inverses_at + tile * 4,
                    )  # fmt: skip
                for j in range(QUERIES):
                    mask = masks[j]
                    if narrowing is not None and mask != np.uint64(0):
                        mask &= allowed[groups[tile + j], item // ITEMS]
                        mask = _without(mask, item, excluded, passed, tile + j)
                    while mask != np.uint64(0):
                        lane = np.int64(_lowest_bit(mask))
                        mask &= mask - np.uint64(1)
                        q, row, product = tile + j, item + lane, products[j * ITEMS + lane]
                        slack = bounds[q, 0] * norms[row] + bounds[q, 1] * errors[row]
                        if added is not None:
                            slack += abs(added[row] * inverses[q]) * F32(ROUNDING_OF_ADDED)
                        # The threshold may have risen since.
                        if product + slack < bounds[q, 2]:
                            continue
                        if sizes[q] == room:
                            _make_room(queries, exact, vectors, found, q, added)
                        at = sizes[q]
                        kept[q, at], upper[q, at] = row, product + slack
                        sizes[q] = at + 1
                        if product - slack > lower[q, 0]:
                            _replace_least(lower, q, product - slack)
                            bounds[q, 2] = max(bounds[q, 2], lower[q, 0])


@njit(cache=True, nogil=True)
def _without(
    mask: np.uint64, item: int, excluded: NDArray[np.int64], passed: NDArray[np.int64], q: int
) -> np.uint64:
    """Take rows that query q is not to find out of the mask of the tile that begins with `item`.

    Tiles come in order, and so do the rows, the first `passed[q]` of which are of earlier tiles.
    """
    at = passed[q]
    while at < excluded.shape[1] and excluded[q, at] < item + ITEMS:
        if excluded[q, at] >= item:
            mask &= ~(np.uint64(1) << np.uint64(excluded[q, at] - item))
        at += 1
    passed[q] = at
    return mask


@njit(cache=True, nogil=True, error_model="numpy")
def _replace_least(heaps: NDArray[np.float32], q: int, value: float) -> None:
    """Replace the least value of a heap by a larger one."""
    k, at = heaps.shape[1], 0
    while True:
        child = 2 * at + 1
        if child >= k:
            break
        if child + 1 < k and heaps[q, child + 1] < heaps[q, child]:
            child += 1
        if heaps[q, child] >= value:
            break
        heaps[q, at] = heaps[q, child]
        at = child
    heaps[q, at] = value


@njit(cache=True, nogil=True, error_model="numpy")
def _make_room(
    queries: Queries, exact: NDArray[np.float32], vectors: NDArray[np.float32],
    found: Survivors, q: int, added: NDArray[np.float32] | None,
) -> None:  # fmt: skip
    """Give up what fell below a query's threshold since; the worse by exact scores if need be.

    That is where many items are nearly as good as one another, or equal.
    """
    rows, upper, lower = found.rows[q], found.upper[q], found.lower[q]
    room, k, threshold, kept = len(rows), len(lower), queries.bounds[q, 2], 0
    for i in range(found.sizes[q]):
        if upper[i] >= threshold:
            rows[kept], upper[kept] = rows[i], upper[i]
            kept += 1
    found.sizes[q] = kept
    if kept <= room - room // 4:
        return
    best, scores = np.empty(k, np.int64), np.empty(k, F32)
    count = _best(exact[q], vectors, rows[:kept], best, scores, added)
    # In row order again, which decides among equals.
    order = np.argsort(best[:count])
    for i in range(count):
        rows[i], upper[i] = best[order[i]], scores[order[i]] / queries.scales[q]
    found.sizes[q] = count
    if count == k:
        # Sorted is a heap, too.
        lower[:] = np.maximum(lower[0], scores[::-1] / queries.scales[q])
        queries.bounds[q, 2] = max(threshold, lower[0])


@njit(cache=True, nogil=True, error_model="numpy")
def _best(
    query: NDArray[np.float32], vectors: NDArray[np.float32], rows: NDArray[np.int64],
    best: NDArray[np.int64], scores: NDArray[np.float32], added: NDArray[np.float32] | None,
) -> int:  # fmt: skip
    """Write the best of ascending rows and their scores, best first; return how many there are."""
    k, count, last = len(best), 0, len(rows) - 1
    query_at, vectors_at, dim = query.ctypes.data, vectors.ctypes.data, len(query)
    for i in range(len(rows)):
        row = rows[i]
        prefetch(vectors_at + 4 * dim * rows[min(i + _AHEAD, last)], 4 * dim)
        score = inner_product(query_at, vectors_at + 4 * dim * row, dim)
        if added is not None:
            score += added[row]
        # Among equal scores the lower row is there already, and stays. No comparison holds for NaN.
        if not (score > -np.inf) or (count == k and score <= scores[k - 1]):
            continue
        at = min(count, k - 1)
        while at > 0 and scores[at - 1] < score:
            scores[at], best[at] = scores[at - 1], best[at - 1]
            at -= 1
        scores[at], best[at] = score, row
        count = min(count + 1, k)
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def settle(
    queries: Queries, exact: NDArray[np.float32], vectors: NDArray[np.float32],
    found: Survivors, rows: NDArray[np.int64], scores: NDArray[np.float32],
    added: NDArray[np.float32] | None,
) -> None:  # fmt: skip
    """Write the best of each query among its survivors, (n, k), best first; the rest is left."""
    for q in range(len(exact)):
        upper, threshold, kept = found.upper[q], queries.bounds[q, 2], 0
        candidates = found.rows[q]
        for i in range(found.sizes[q]):
            if upper[i] >= threshold:
                candidates[kept] = candidates[i]
                kept += 1
        _best(exact[q], vectors, candidates[:kept], rows[q], scores[q], added)
