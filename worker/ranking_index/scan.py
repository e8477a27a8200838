"""The scan of all items for the largest inner products, compiled.

A query q and an item v are coded in 8 bits, q ≈ a·q̂ and v ≈ s·v̂ with integer q̂ and v̂. Then

    |q·v − a·s·q̂·v̂| = |(q − a·q̂)·v + a·q̂·(v − s·v̂)| ≤ ‖q − a·q̂‖ ‖v‖ + ‖a·q̂‖ ‖v − s·v̂‖,

by the triangle inequality and that of Cauchy and Schwarz. So every inner product has an upper and a
lower bound at the price of one in 8 bits. Where the lower bounds of k items reach a threshold,
items whose upper bound is below cannot be among the k best. The few others are scored in float32:
what is returned is what scoring everything would return. (Compare the scalar quantisation with
re-ranking of vector indices, which re-ranks a fixed number and is not exact.) The threshold comes
from a first look at groups of items (`worker.ranking_index.sieve`), else from the k-th largest
lower bound so far.

All bounds are divided by the query's scale a. The constants E = ‖q − a·q̂‖ / a and M = ‖q̂‖ belong to
the query, the norm n = ‖v‖ and error r = ‖v − s·v̂‖ to the item: the bounds are s·q̂·v̂ ± (E·n + M·r).

Arguments that are None are not compiled in. In a plain search those are a narrowing, which takes
items away before their bounds count for anything, and amounts that are added to items' scores, of
which b / a is added to the bounds; else it is the first look, which knows nothing of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numba.cpython.unsafe.numbers import trailing_zeros
from numpy.typing import NDArray

from worker.ranking_index.codes import ERROR, NO_THRESHOLD, NORM, Codes, Queries
from worker.ranking_index.group_bounds import which_reach
from worker.ranking_index.llvm import LANES
from worker.ranking_index.narrowing import Narrowing
from worker.ranking_index.sieve import Sieve
from worker.ranking_index.simd import inner_product, prefetch
from worker.ranking_index.tiles import (
    ITEMS,
    QUERIES,
    ROUNDING_OF_ADDED,
    score_raised_tile,
    score_tile,
)

F32 = np.float32

_lowest_bit: Any = trailing_zeros  # its type says that it never returns

_AHEAD = 4
"""Items whose vectors are on their way while one is scored: they lie anywhere in memory."""


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
def scan(  # noqa: PLR0912, PLR0915  # a third of it is gone in what is compiled
    codes: Codes,
    rows: int,
    queries: Queries,
    exact: NDArray[np.float32],
    vectors: NDArray[np.float32],
    found: Survivors,
    sieve: Sieve | None,
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
        sieve: which groups of items are worth a look; None for all.
        narrowing: which items each query may find; None for all.
        added: to items' scores, finite, as many as the codes' capacity; None for nothing.
    """
    n, width = len(exact), codes.codes.shape[1] * 4
    products, masks = np.empty(QUERIES * ITEMS, F32), np.empty(QUERIES, np.uint64)
    # The queries that go through a tile together, side by side.
    taken, inverses = np.empty(QUERIES, np.int64), np.ones(QUERIES, F32)
    codes_taken, bounds_taken = np.zeros((QUERIES, width), np.uint8), np.zeros((QUERIES, 3), F32)
    # Addresses and arrays by themselves: a view, or a tuple passed on, counts references each time.
    of_items, numbers, offsets = (
        codes.codes.ctypes.data, codes.numbers.ctypes.data, codes.offsets.ctypes.data
    )  # fmt: skip
    of_queries, of_bounds = codes_taken.ctypes.data, bounds_taken.ctypes.data
    products_at, masks_at, inverses_at = (
        products.ctypes.data, masks.ctypes.data, inverses.ctypes.data
    )  # fmt: skip
    norms, errors, bounds = codes.numbers[NORM], codes.numbers[ERROR], queries.bounds
    kept, upper, sizes, lower = found.rows, found.upper, found.sizes, found.lower
    room, stride = kept.shape[1], codes.numbers.strides[0]
    words, words_taken = queries.codes.view(np.int32), codes_taken.view(np.int32)
    rises = bounds[:n, 2] == F32(NO_THRESHOLD)
    line, waiting = np.arange(n), n
    if sieve is not None:
        per_group, upper_at = sieve.size * ITEMS, sieve.upper.ctypes.data
        of_block = sieve.upper.strides[0]
        # Thresholds as they are now: those that rise later let no more through.
        limits = np.full(len(sieve.upper) * LANES, np.inf, F32)
        limits[:n] = bounds[:n, 2]
    if narrowing is not None:
        allowed, groups, excluded = narrowing.allowed, narrowing.groups, narrowing.excluded
        passed = np.zeros(n, np.int64)
    if added is not None:
        added_at = added.ctypes.data
    for item in range(0, rows, ITEMS):
        if sieve is not None:
            waiting = _line_up(line, upper_at + item // per_group * LANES * 4, of_block, limits)
        for start in range(0, waiting, QUERIES):
            count = min(QUERIES, waiting - start)
            for j in range(count):
                q = line[start + j]
                for c in range(words.shape[1]):
                    words_taken[j, c] = words[q, c]
                for c in range(3):
                    bounds_taken[j, c] = bounds[q, c]
                if added is not None:
                    inverses[j] = F32(1.0) / queries.scales[q]
                taken[j] = q
            bounds_taken[count:, 2] = np.inf
            if added is None:
                score_tile(
                    of_queries, of_bounds, of_items + item * width, offsets + item * 4,
                    numbers + item * 4, stride, width, products_at, masks_at,
                )  # fmt: skip
            else:
                score_raised_tile(
                    of_queries, of_bounds, of_items + item * width, offsets + item * 4,
                    numbers + item * 4, stride, width, products_at, masks_at,
                    added_at + item * 4, inverses_at,
                )  # fmt: skip
            for j in range(count):
                mask, q = masks[j], taken[j]
                if narrowing is not None and mask != np.uint64(0):
                    mask &= allowed[groups[q], item // ITEMS]
                    mask = _without(mask, item, excluded, passed, q)
                while mask != np.uint64(0):
                    lane = np.int64(_lowest_bit(mask))
                    mask &= mask - np.uint64(1)
                    row, product = item + lane, products[j * ITEMS + lane]
                    slack = bounds[q, 0] * norms[row] + bounds[q, 1] * errors[row]
                    if added is not None:
                        slack += abs(added[row] * inverses[j]) * F32(ROUNDING_OF_ADDED)
                    # The threshold may have risen since.
                    if product + slack < bounds[q, 2]:
                        continue
                    if sizes[q] == room:
                        _make_room(queries, exact, vectors, found, q, added)
                    at = sizes[q]
                    kept[q, at], upper[q, at] = row, product + slack
                    sizes[q] = at + 1
                    if rises[q] and product - slack > lower[q, 0]:
                        _replace_least(lower, q, product - slack)
                        bounds[q, 2] = max(bounds[q, 2], lower[q, 0])


@njit(cache=True, nogil=True)
def _line_up(
    line: NDArray[np.int64], upper: int, of_block: int, limits: NDArray[np.float32]
) -> int:
    """Write down, in order, the queries that a group of items is worth a look for; say how many.

    Args:
        line: (n,), to be written to.
        upper: address of the group's upper bounds for the first `LANES` queries.
        of_block: bytes from there to those for the next ones.
        limits: thresholds, a multiple of `LANES` of them.
    """
    waiting, limits_at = 0, limits.ctypes.data
    for block in range(len(limits) // LANES):
        bits = which_reach(upper + block * of_block, limits_at + block * LANES * 4)
        while bits != np.uint64(0):
            line[waiting] = block * LANES + np.int64(_lowest_bit(bits))
            bits &= bits - np.uint64(1)
            waiting += 1
    return waiting


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
