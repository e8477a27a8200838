"""Items and queries in 8 bits; `worker.ranking_index.scan` says what the numbers are for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.ranking_index.llvm import LANES
from worker.ranking_index.tiles import ITEMS, QUERIES, QUERY_LEVELS, QUERY_SHIFT

F32 = np.float32

ITEM_LEVELS = 127
_ROUNDING = 2.0**-22
"""Bounds what float32 adds to the errors, per component and relative to ‖q‖ ‖v‖: twice, for the
product and for the bound itself, the 2^−24 of each operation, and twice that to be safe."""

SCALE, NORM, ERROR = range(3)
"""Rows of `Codes.numbers`."""

NO_THRESHOLD = float(np.finfo(F32).min)
"""Threshold of a query that any item may still be good enough for."""


class Codes(NamedTuple):
    """Items in 8 bits; the capacity is a multiple of `ITEMS`."""

    codes: NDArray[np.int8]
    """v̂: (capacity / LANES, width / 4, LANES, 4), width being the dimension filled up to a multiple
    of 4 with zeros."""
    offsets: NDArray[np.int32]
    """What the sum over the shifted codes of a query must start from, (capacity,)."""
    numbers: NDArray[np.float32]
    """s, n and r of each item, (3, capacity); n = −∞ for items to leave out."""
    most: NDArray[np.float32]
    """The largest n and r of each tile's items, but for those left out, (2, capacity / ITEMS)."""


class Queries(NamedTuple):
    """Queries in 8 bits; their number is filled up to a multiple of `QUERIES`."""

    codes: NDArray[np.uint8]
    """q̂ + QUERY_SHIFT, (n, width)."""
    bounds: NDArray[np.float32]
    """E, M and threshold, (n, 3); the threshold is ∞ for those that are to find nothing."""
    scales: NDArray[np.float32]
    """a, (n,)."""


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
def bound_tiles(codes: Codes, rows: NDArray[np.int64]) -> None:
    """Say anew how large norms and errors are in the tiles of these rows, (m,)."""
    done = -1
    for row in rows:
        tile = row // ITEMS
        if tile == done:
            continue
        done, norm, error = tile, F32(0.0), F32(0.0)
        for i in range(tile * ITEMS, (tile + 1) * ITEMS):
            if codes.numbers[NORM, i] > -np.inf:
                norm = max(norm, codes.numbers[NORM, i])
                error = max(error, codes.numbers[ERROR, i])
        codes.most[0, tile], codes.most[1, tile] = norm, error


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
        bounds[i, 2] = NO_THRESHOLD
        scales[i] = scale
    return Queries(codes, bounds, scales)
