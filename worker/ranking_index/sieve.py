"""The first look at all items: which groups of them may hold one of a query's best.

Of each group of items only the largest product in 8 bits is noted. With bounds n ≤ N and r ≤ R on
the norms and errors of a group's items (see `worker.ranking_index.scan`), its best item lies within
E·N + M·R of that. Where k groups have lower bounds of at least t, there are k items at least so
good: so the k-th largest of these bounds is a threshold, and a group whose upper bound is below it
holds none of the k best. Few groups are left, and only their items are looked at one by one: that
took more time than the products.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.ranking_index.codes import Codes, Queries
from worker.ranking_index.tiles import ITEMS, QUERIES, best_of_tile

F32 = np.float32

_TILES_AT_ONCE = 8
"""Tiles of items that are compared with all queries before the next ones: 48 kB at 96 components,
which stays in the first-level cache or close to it."""
_MOST_GROUPS = 1024
_HALVINGS = 14
"""Of the interval in which a threshold is sought: what is left of it is a 16,384th."""


class Sieve(NamedTuple):
    """What a first look says of groups of items."""

    upper: NDArray[np.float32]
    """No item of the group is better for the query than this, (n, groups)."""
    size: int
    """Tiles of a group."""


@njit(cache=True, nogil=True)
def first_look(codes: Codes, rows: int, queries: Queries, n: int, k: int) -> Sieve:
    """Look at all items once; raise the queries' thresholds to what that tells.

    Args:
        codes: of the items.
        rows: how many rows there are.
        queries: coded.
        n: of the queries.
        k: how many items each wants.
    """
    size = _tiles_of_group(rows)
    best = _best_products(codes, rows, queries, size)
    _sift(best, codes, queries, n, k, size)
    return Sieve(best, size)


@njit(cache=True, nogil=True)
def _tiles_of_group(rows: int) -> int:
    """Return how many tiles make a group: a power of two, so that groups are not too many."""
    tiles = -(-rows // ITEMS)
    size = 1
    while -(-tiles // size) > _MOST_GROUPS:
        size *= 2
    return size


@njit(cache=True, nogil=True, error_model="numpy")
def _best_products(codes: Codes, rows: int, queries: Queries, size: int) -> NDArray[np.float32]:
    """Return the largest product of each query with the items of each group, (n, groups).

    Args:
        codes: of the items.
        rows: how many rows there are.
        queries: coded.
        size: tiles of a group, a power of two.
    """
    width = codes.codes.shape[1] * 4
    per_group = size * ITEMS
    best = np.full((len(queries.bounds), -(-rows // per_group)), -np.inf, F32)
    of_tile = np.empty(QUERIES, F32)
    of_items, numbers, offsets = (
        codes.codes.ctypes.data, codes.numbers.ctypes.data, codes.offsets.ctypes.data
    )  # fmt: skip
    of_queries, of_tile_at = queries.codes.ctypes.data, of_tile.ctypes.data
    stride, step = codes.numbers.strides[0], max(_TILES_AT_ONCE, size) * ITEMS
    for first in range(0, rows, step):
        last = min(first + step, rows)
        for tile in range(0, len(queries.bounds), QUERIES):
            for group in range(first, last, per_group):
                of_tile[:] = -np.inf
                for item in range(group, min(group + per_group, last), ITEMS):
                    best_of_tile(
                        of_queries + tile * width, of_items + item * width, offsets + item * 4,
                        numbers + item * 4, stride, width, of_tile_at,
                    )  # fmt: skip
                for j in range(QUERIES):
                    best[tile + j, group // per_group] = of_tile[j]
    return best


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"nnan", "nsz"})
def _sift(
    best: NDArray[np.float32], codes: Codes, queries: Queries, n: int, k: int, size: int
) -> None:
    """Raise thresholds to what groups tell; make `best` the groups' upper bounds.

    Args:
        best: largest product of each query and group, (n, groups).
        codes: of the items.
        queries: whose thresholds are raised.
        n: of the queries.
        k: how many items are wanted.
        size: tiles of a group.
    """
    groups = best.shape[1]
    most = np.zeros((2, groups), F32)
    for tile in range(min(size * groups, codes.most.shape[1])):
        group = tile // size
        most[0, group] = max(most[0, group], codes.most[0, tile])
        most[1, group] = max(most[1, group], codes.most[1, tile])
    lower = np.empty(groups, F32)
    norms, errors = most[0], most[1]
    for q in range(n):
        of_norm, of_error, row = queries.bounds[q, 0], queries.bounds[q, 1], best[q]
        for g in range(groups):
            slack = of_norm * norms[g] + of_error * errors[g]
            lower[g] = row[g] - slack
            row[g] += slack
        queries.bounds[q, 2] = max(queries.bounds[q, 2], _threshold(lower, k))


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"nnan", "nsz", "reassoc"})
def _threshold(values: NDArray[np.float32], k: int) -> np.float32:
    """Return a number that at least k of the values reach, close to the k-th largest; or −∞."""
    lowest, highest, zero, one = np.finfo(F32).min, np.finfo(F32).max, F32(0.0), F32(1.0)
    least, largest, there = highest, lowest, zero
    for g in range(len(values)):
        value = values[g]
        there += one if value >= lowest else zero
        least = min(least, value if value >= lowest else highest)
        largest = max(largest, value)
    if there < k:
        return F32(-np.inf)
    for _ in range(_HALVINGS):
        middle = F32(0.5) * (least + largest)
        reached = zero
        for g in range(len(values)):
            reached += one if values[g] >= middle else zero
        if reached >= k:
            least = middle
        else:
            largest = middle
    return least
