"""What the prior adds to the scores of one micro-batch, and how it comes into the lists."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from worker.ranking_index.simd import inner_product
from worker.rows import NO_ITEM


@dataclass(frozen=True)
class BatchPrior:
    """Amounts that some items' scores get, by query."""

    rows: NDArray[np.int32]
    """Catalogue rows by surface, each once, (g, K); `NO_ITEM` fills up."""
    amounts: NDArray[np.float32]
    """What the scores of these get where the prior counts fully, not negative, (g, K)."""
    groups: NDArray[np.int64]
    """Which of these surfaces is for the query, (n,)."""
    weights: NDArray[np.float32]
    """How much of it counts, (n,)."""

    def own(
        self,
        which: slice,
        queries: NDArray[np.float32],
        vectors: NDArray[np.float32],
        findable: NDArray[np.bool_],
        own: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]],
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        """Return items with scores of their own, with those of the prior among them.

        Lists made of these and of the items with the largest inner products stay exact: amounts are
        not negative, so an item that gets none and was not found so far has no place to win.

        Args:
            which: some of the queries.
            queries: all of them, (n, dim).
            vectors: by row, (rows, dim).
            findable: which rows may be found, (rows,).
            own: of the items with scores of their own so far: where those of each of these queries
                begin and end, (m + 1,), their rows and their scores.
        """
        weights = self.weights[which]
        if not weights.any():
            return own
        pointers, rows, values = own
        most = len(rows) + int(np.count_nonzero(weights)) * self.rows.shape[1]
        out = (
            np.empty(len(pointers), np.int64),
            np.empty(most, np.int32),
            np.empty(most, np.float32),
        )
        end = _lift(
            self.rows, self.amounts, self.groups[which], weights,
            queries[which], vectors, findable, pointers, rows, values, *out,
        )  # fmt: skip
        return out[0], out[1][:end], out[2][:end]

    def add_to(self, scores: Tensor, which: slice) -> None:
        """Add to the scores of some of the queries, (m, rows), in place."""
        weights = self.weights[which]
        if not weights.any() or not scores.shape[1]:
            return
        here = self.rows[self.groups[which]].astype(np.int64)
        amounts = self.amounts[self.groups[which]] * weights[:, None]
        amounts[(here == NO_ITEM) | (here >= scores.shape[1])] = 0.0
        here = np.clip(here, 0, scores.shape[1] - 1)
        device = scores.device
        scores.scatter_add_(
            1, torch.from_numpy(here).to(device), torch.from_numpy(amounts).to(device)
        )


@njit(cache=True, nogil=True)
def _lift(  # noqa: PLR0917  # compiled functions take their arguments by position
    prior: NDArray[np.int32], amounts: NDArray[np.float32], groups: NDArray[np.int64],
    weights: NDArray[np.float32], queries: NDArray[np.float32], vectors: NDArray[np.float32],
    findable: NDArray[np.bool_], pointers: NDArray[np.int64], rows: NDArray[np.int32],
    values: NDArray[np.float32], out_pointers: NDArray[np.int64], out_rows: NDArray[np.int32],
    out_values: NDArray[np.float32],
) -> int:  # fmt: skip
    """Copy what queries have of their own, add the prior's amounts, put in what is missing.

    See `BatchPrior.own`. Returns the number of items written.
    """
    dim = queries.shape[1]
    place = np.full(len(findable), -1, np.int64)  # of a row among those of the query at hand
    out_pointers[0] = end = 0
    for q in range(len(weights)):
        begin = end
        for p in range(pointers[q], pointers[q + 1]):
            out_rows[end], out_values[end] = rows[p], values[p]
            if weights[q] > 0.0 and 0 <= rows[p] < len(findable):
                place[rows[p]] = end
            end += 1
        if weights[q] > 0.0:
            theirs = end
            for c in range(prior.shape[1]):
                row = prior[groups[q], c]
                if row < 0 or row >= len(findable) or not findable[row]:
                    continue
                amount = weights[q] * amounts[groups[q], c]
                if place[row] >= 0:
                    out_values[place[row]] += amount
                    continue
                product = inner_product(queries[q].ctypes.data, vectors[row].ctypes.data, dim)
                out_rows[end], out_values[end] = row, product + amount
                end += 1
            for p in range(begin, theirs):
                if 0 <= out_rows[p] < len(findable):
                    place[out_rows[p]] = -1
        out_pointers[q + 1] = end
    return end
