"""What a search may return: whole groups of items that are let through, and single ones left out.

Applied while the items are gone through, so that as many are found as there are that qualify.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

WORD = 64
"""Rows that one number of `Narrowing.allowed` is about; as many as a tile of the scan has."""

_ONE = np.uint64(1)


class Narrowing(NamedTuple):
    """Which rows each of n queries may find."""

    allowed: NDArray[np.uint64]
    """A bit a row, (groups, words): bit r % WORD of word r // WORD is for row r."""
    groups: NDArray[np.int64]
    """Which of these groups is for the query, (n,)."""
    excluded: NDArray[np.int64]
    """Rows that the query is not to find, ascending, (n, m); −1, which fills up, comes first."""

    def part(self, which: slice | NDArray[np.int64]) -> Narrowing:
        """Return what is for some of the queries."""
        return Narrowing(self.allowed, self.groups[which], self.excluded[which])


def words_for(rows: int) -> int:
    """Return how many words the bits of so many rows take."""
    return -(-rows // WORD)


def sorted_rows(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return rows to be left out, (n, m), as `Narrowing.excluded` wants them."""
    return np.sort(rows, axis=1)


def mask_of(allowed: NDArray[np.uint64], rows: int) -> NDArray[np.bool_]:
    """Return by group and row whether `Narrowing.allowed` lets the row through, (groups, rows)."""
    data = np.ascontiguousarray(allowed, "<u8").view(np.uint8).reshape(len(allowed), -1)
    return np.unpackbits(data, axis=1, count=rows, bitorder="little").astype(np.bool_)


def leaves_out_few(narrowing: Narrowing) -> bool:
    """Whether nothing is left out but single items."""
    return bool((narrowing.allowed == ~np.uint64(0)).all())


@njit(cache=True, nogil=True)
def permits(
    allowed: NDArray[np.uint64], group: int, excluded: NDArray[np.int64], q: int, row: int
) -> bool:
    """Say whether query q may find a row."""
    if (allowed[group, row // WORD] >> np.uint64(row % WORD)) & _ONE == np.uint64(0):
        return False
    for i in range(excluded.shape[1]):  # noqa: SIM110  # compiled, a generator is none
        if excluded[q, i] == row:
            return False
    return True


@njit(cache=True, nogil=True)
def narrow_own(
    narrowing: Narrowing, added: NDArray[np.float32], pointers: NDArray[np.int64],
    rows: NDArray[np.int32], values: NDArray[np.float32],
) -> None:  # fmt: skip
    """Narrow items with scores of their own: add to the scores, −∞ for what is not to be found.

    Args:
        narrowing: of n queries.
        added: to the score of each row; empty where nothing is.
        pointers: items of query i are `pointers[i]:pointers[i + 1]`.
        rows: (P,); those without a bit in `narrowing` are left out, and −1 is no row.
        values: changed in place, (P,).
    """
    allowed, groups, excluded = narrowing.allowed, narrowing.groups, narrowing.excluded
    known = WORD * allowed.shape[1]
    for q in range(len(groups)):
        for p in range(pointers[q], pointers[q + 1]):
            row = rows[p]
            if row < 0:
                continue
            if row >= known or not permits(allowed, groups[q], excluded, q, row):
                values[p] = -np.inf
            elif len(added):
                values[p] += added[row]
