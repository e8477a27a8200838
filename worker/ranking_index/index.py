"""The index of the items: exact search for the largest inner products, kept level row by row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.ranking_index import amx
from worker.ranking_index.aligned import aligned
from worker.ranking_index.codes import NORM, Codes, bound_tiles, encode_items, encode_queries
from worker.ranking_index.llvm import LANES
from worker.ranking_index.narrowing import Narrowing, leaves_out_few, words_for
from worker.ranking_index.scan import Survivors, scan, settle
from worker.ranking_index.shares import in_shares
from worker.ranking_index.sieve import first_look
from worker.ranking_index.tiles import ITEMS
from worker.rows import NO_ITEM

_LEAST_SHARE = 2 * amx.QUERIES
"""Queries that are worth a thread of their own: the items are gone through once for a tile."""
_ROOM, _LEAST_ROOM = 4, 128
"""Survivors of a query that there is room for: times k, and at least."""


@dataclass(frozen=True)
class Nearest:
    """The items with the largest inner products for n queries, best first."""

    rows: NDArray[np.int64]
    """(n, k); `NO_ITEM` where there are no more. Among equal scores the lower row comes first."""
    scores: NDArray[np.float32]
    """(n, k); −∞ where there is no item."""


class ItemIndex:
    """Items in 8 bits, by row, and which of them may be found.

    Changing an item costs one pass over its vector, whatever the number of items; growing beyond
    the capacity copies the codes, `dim` bytes an item.

    Args:
        dim: components of a vector.
        capacity: rows to begin with; grows as needed.
    """

    def __init__(self, dim: int, capacity: int = 1024) -> None:
        self.dim = dim
        self._rows = 0
        self._codes = _empty(capacity, dim)
        self._norms = np.full(self._codes.numbers.shape[1], -np.inf, np.float32)
        self._available = np.zeros(len(self._norms), np.bool_)

    @property
    def norms(self) -> NDArray[np.float32]:
        """‖v‖ by row, (rows,); −∞ of those without a finite vector."""
        return self._norms[: self._rows]

    @property
    def findable(self) -> NDArray[np.bool_]:
        """True for rows that `search` may return, (rows,)."""
        return self._codes.numbers[NORM, : self._rows] > -np.inf

    def set_vectors(self, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Take over the vectors of rows, (m,) and (m, dim); new rows are not to be found at first.

        A row whose vector is not finite is never found.
        """
        if not len(rows):
            return
        self.reserve(int(rows.max()) + 1)
        encode_items(self._codes, rows, np.ascontiguousarray(vectors))
        self._norms[rows] = self._codes.numbers[NORM, rows]
        self._show(rows)

    def set_available(self, rows: NDArray[np.int64], available: NDArray[np.bool_]) -> None:
        """Say which rows may be found, (m,) both."""
        if not len(rows):
            return
        self.reserve(int(rows.max()) + 1)
        self._available[rows] = available
        self._show(rows)

    def reserve(self, rows: int) -> None:
        """Have rows below `rows`; new ones are not to be found at first."""
        self._rows = max(self._rows, rows)
        capacity = len(self._norms)
        if rows <= capacity:
            return
        old, new = self._codes, _empty(max(rows, 2 * capacity), self.dim)
        new.codes[: len(old.codes)] = old.codes
        new.offsets[:capacity] = old.offsets
        new.numbers[:, :capacity] = old.numbers
        new.most[:, : old.most.shape[1]] = old.most
        more = len(new.offsets) - capacity
        self._norms = np.concatenate([self._norms, np.full(more, -np.inf, np.float32)])
        self._available = np.concatenate([self._available, np.zeros(more, np.bool_)])
        self._codes = new

    def search(
        self,
        queries: NDArray[np.float32],
        vectors: NDArray[np.float32],
        k: int,
        *,
        threads: int = 1,
        narrowing: Narrowing | None = None,
        added: NDArray[np.float32] | None = None,
    ) -> Nearest:
        """Return for each query the k items with the largest inner products: exactly those.

        What is found for a query does not depend on the other queries. A query that is not finite
        finds nothing.

        Args:
            queries: (n, dim).
            vectors: those that were set, by row, (at least the rows set, dim).
            k: how many, at least 1.
            threads: that share the queries.
            narrowing: which items each query may find, with bits for all rows; None for all.
            added: to the inner products, finite, for all rows and on to a whole word of
                `narrowing`; None for nothing. The scores found are the sums.
        """
        if narrowing is not None and narrowing.allowed.shape[1] < words_for(self._rows):
            raise ValueError("the narrowing knows fewer rows than there are")
        if added is not None and len(added) < ITEMS * words_for(self._rows):
            raise ValueError("amounts are to be added to fewer rows than there are")
        queries, vectors = np.ascontiguousarray(queries), np.ascontiguousarray(vectors)
        n = len(queries)
        rows = np.full((n, k), NO_ITEM, np.int64)
        scores = np.full((n, k), -np.inf, np.float32)
        most = k if added is None else None
        if narrowing is not None and most is not None:
            # A first look knows nothing of what is left out: it may be the best of its group.
            most = k + narrowing.excluded.shape[1] if leaves_out_few(narrowing) else None

        def search(start: int, stop: int) -> None:
            part = queries[start:stop]
            coded = encode_queries(part, self._codes.codes.shape[1] * 4)
            found = _no_survivors(len(coded.scales), max(_LEAST_ROOM, _ROOM * k), k)
            narrow = None if narrowing is None else narrowing.part(slice(start, stop))
            sieve = None
            if most is not None:
                sieve = first_look(self._codes, self._rows, coded, len(part), most)
            scan(self._codes, self._rows, coded, part, vectors, found, sieve, narrow, added)
            settle(coded, part, vectors, found, rows[start:stop], scores[start:stop], added)

        in_shares(search, n, threads, least=_LEAST_SHARE)
        return Nearest(rows, scores)

    def _show(self, rows: NDArray[np.int64]) -> None:
        shown = np.where(self._available[rows], self._norms[rows], np.float32(-np.inf))
        self._codes.numbers[NORM, rows] = shown
        bound_tiles(self._codes, rows)


def _empty(capacity: int, dim: int) -> Codes:
    capacity = -(-max(1, capacity) // ITEMS) * ITEMS
    numbers = aligned((3, capacity), np.float32)
    numbers[NORM] = -np.inf
    return Codes(
        aligned((capacity // LANES, -(-dim // 4), LANES, 4), np.int8, amx.BEYOND),
        aligned((capacity,), np.int32),
        numbers,
        np.zeros((2, capacity // ITEMS), np.float32),
    )


def _no_survivors(n: int, room: int, k: int) -> Survivors:
    return Survivors(
        np.empty((n, room), np.int64),
        np.empty((n, room), np.float32),
        np.zeros(n, np.int64),
        np.full((n, k), -np.inf, np.float32),
    )
