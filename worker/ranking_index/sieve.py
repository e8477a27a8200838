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

from worker.ranking_index import amx
from worker.ranking_index.aligned import aligned
from worker.ranking_index.codes import Codes, Queries
from worker.ranking_index.group_bounds import reached, spread
from worker.ranking_index.llvm import LANES
from worker.ranking_index.tiles import ITEMS, QUERIES, QUERY_SHIFT, best_of_tile

F32 = np.float32

_BYTES_AT_ONCE = 24 * 1024
"""Of the codes of items that are compared with all queries before the next ones: they stay in the
first-level cache."""
_MOST_GROUPS = 1024


class Sieve(NamedTuple):
    """What a first look says of groups of items."""

    upper: NDArray[np.float32]
    """No item of the group is better for the query than this, (blocks, groups, LANES): query q is
    lane q % LANES of block q // LANES."""
    size: int
    """Tiles of a group."""


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
    shape = (-(-len(queries.bounds) // LANES), -(-rows // (size * ITEMS)), LANES)
    best = np.full(shape, -np.inf, F32)
    if n > QUERIES and amx.ready():  # fewer go through the other loop at once
        length = -(-queries.codes.shape[1] // amx.COMPONENTS) * amx.COMPONENTS
        signed = aligned((LANES * len(best), length), np.int8)
        sums = aligned((2, amx.QUERIES, amx.ITEMS), np.int32)
        _best_products_by_amx(codes, rows, queries, size, signed, sums, amx.configuration(), best)
    else:
        _best_products(codes, rows, queries, size, best)
    _sift(best, codes, queries, n, k, size)
    return Sieve(best, size)


def _tiles_of_group(rows: int) -> int:
    """Return how many tiles make a group: a power of two, so that groups are not too many."""
    tiles = -(-rows // ITEMS)
    size = 1
    while -(-tiles // size) > _MOST_GROUPS:
        size *= 2
    return size


@njit(cache=True, nogil=True, error_model="numpy")
def _best_products(
    codes: Codes, rows: int, queries: Queries, size: int, best: NDArray[np.float32]
) -> None:
    """Write the largest product of each query with the items of each group.

    Args:
        codes: of the items.
        rows: how many rows there are.
        queries: coded.
        size: tiles of a group, a power of two.
        best: (blocks, groups, LANES), filled with −∞; see `Sieve.upper`.
    """
    width = codes.codes.shape[1] * 4
    of_tile = np.empty(QUERIES, F32)
    of_items, numbers, offsets = (
        codes.codes.ctypes.data, codes.numbers.ctypes.data, codes.offsets.ctypes.data
    )  # fmt: skip
    of_queries, of_tile_at = queries.codes.ctypes.data, of_tile.ctypes.data
    stride, tiles, groups = codes.numbers.strides[0], -(-rows // ITEMS), best.shape[1]
    at_once = max(1, _BYTES_AT_ONCE // (ITEMS * width * size))
    for first in range(0, groups, at_once):
        for tile in range(0, len(queries.bounds), QUERIES):
            for group in range(first, min(first + at_once, groups)):
                of_tile[:] = -np.inf
                for item in range(group * size, min((group + 1) * size, tiles)):
                    best_of_tile(
                        of_queries + tile * width, of_items + item * ITEMS * width,
                        offsets + item * ITEMS * 4, numbers + item * ITEMS * 4, stride, width,
                        of_tile_at,
                    )  # fmt: skip
                for j in range(QUERIES):
                    best[(tile + j) // LANES, group, (tile + j) % LANES] = of_tile[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _best_products_by_amx(
    codes: Codes, rows: int, queries: Queries, size: int, signed: NDArray[np.int8],
    sums: NDArray[np.int32], config: NDArray[np.uint8], best: NDArray[np.float32],
) -> None:  # fmt: skip
    """Do what `_best_products` does.

    Args:
        codes: of the items.
        rows: how many rows there are.
        queries: coded.
        size: tiles of a group, a power of two.
        signed: zeros, (blocks · LANES, length), for the queries' codes as AMX wants them.
        sums: (2, amx.QUERIES, amx.ITEMS), to work with.
        config: see `amx.configuration`.
        best: (blocks, groups, LANES), filled with −∞; see `Sieve.upper`.
    """
    for q in range(len(queries.codes)):
        for c in range(queries.codes.shape[1]):
            signed[q, c] = np.int16(queries.codes[q, c]) - QUERY_SHIFT
    width, length = codes.codes.shape[1] * 4, signed.shape[1]
    of_items, numbers = codes.codes.ctypes.data, codes.numbers.ctypes.data
    of_queries, best_at, sums_at = signed.ctypes.data, best.ctypes.data, sums.ctypes.data
    stride, tiles, groups = codes.numbers.strides[0], -(-rows // ITEMS), best.shape[1]
    other = sums.strides[0]
    at_once = max(1, _BYTES_AT_ONCE // (ITEMS * width))
    amx.configure(config.ctypes.data)
    for first in range(0, tiles, at_once):
        last = min(first + at_once, tiles)
        for block in range(len(best)):
            of_block = of_queries + block * LANES * length
            of_best = best_at + block * groups * LANES * 4
            # The sums of one tile are read while those of the next are made.
            for tile in range(first, last + 1):
                if tile < last:
                    here = sums_at + other * (tile & 1)
                    amx.multiply(of_block, length, of_items + tile * ITEMS * width, width, here)
                if tile > first:
                    before, there = tile - 1, sums_at + other * ((tile - 1) & 1)
                    amx.best_of_sums(
                        there, numbers + before * ITEMS * 4, stride,
                        of_best + before // size * LANES * 4,
                    )  # fmt: skip
    amx.release()


@njit(cache=True, nogil=True, error_model="numpy")
def _sift(
    best: NDArray[np.float32], codes: Codes, queries: Queries, n: int, k: int, size: int
) -> None:
    """Raise thresholds to what groups tell; make `best` the groups' upper bounds.

    Args:
        best: largest product of each query and group, (blocks, groups, LANES).
        codes: of the items.
        queries: whose thresholds are raised.
        n: of the queries.
        k: how many items are wanted.
        size: tiles of a group.
    """
    groups, bounds = best.shape[1], queries.bounds
    most = np.zeros((2, groups), F32)
    for tile in range(min(size * groups, codes.most.shape[1])):
        group = tile // size
        most[0, group] = max(most[0, group], codes.most[0, tile])
        most[1, group] = max(most[1, group], codes.most[1, tile])
    lower, of_block, limits = (
        np.empty((groups, LANES), F32), np.zeros((2, LANES), F32), np.empty(LANES, F32)
    )  # fmt: skip
    for block in range(-(-n // LANES)):
        start, stop = block * LANES, min(n, (block + 1) * LANES)
        for q in range(start, stop):
            of_block[0, q - start], of_block[1, q - start] = bounds[q, 0], bounds[q, 1]
        at = best.ctypes.data + 4 * block * groups * LANES
        # Addresses are taken where they are used: an array not named any more is freed.
        norms, of_norm = most.ctypes.data, of_block.ctypes.data
        spread(
            at, groups, norms, norms + 4 * groups, of_norm, of_norm + 4 * LANES, lower.ctypes.data
        )
        reached(lower.ctypes.data, groups, k, limits.ctypes.data)
        for q in range(start, stop):
            bounds[q, 2] = max(bounds[q, 2], limits[q - start])
