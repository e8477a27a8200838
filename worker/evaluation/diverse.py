"""Lists that the policy's diversity spreads out, and the ranks that they give the items."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from worker.policy.batch import leave_out
from worker.policy.selection_kernel import Chosen, Options, Pools, choose
from worker.ranking_quality import TOP
from worker.rows import NO_ITEM
from worker.topk import top_items

CANDIDATES = 100
"""Best items that a list is chosen from, as `policy.candidates` is unless set."""


class DiverseRanking:
    """Ranks as the worker does under `policy.diversity`.

    Args:
        diversity: in [0, 1).
        vectors: of the items, (items, d).
    """

    def __init__(self, diversity: float, vectors: Tensor) -> None:
        self._options = Options(cap=0, diversity=diversity, epsilon=0.0, scale=0.0, first=0)
        self._vectors = np.ascontiguousarray(vectors.cpu().numpy(), np.float32)
        self._no_brands = np.zeros(len(self._vectors), np.int32)

    def rerank(
        self,
        scores: Tensor,
        ranks: NDArray[np.int32],
        targets: NDArray[np.int64],
        excluded: Tensor | None = None,
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return the targets' ranks, (n,), and the lists, (n, TOP), `NO_ITEM` filling up.

        Behind a list come the other items by their scores.

        Args:
            scores: of all items, (n, items); changed in place.
            ranks: of the targets by scores; −1 for events that do not count, and stay so.
            targets: their rows, (n,).
            excluded: rows to leave out, (n, m); −1 fills up.
        """
        if excluded is not None:
            leave_out(scores, excluded)
        values, rows = top_items(scores, None, min(CANDIDATES, scores.shape[1]))
        pool: NDArray[np.int64] = rows.cpu().numpy()
        n, count = len(pool), min(TOP, pool.shape[1])
        pools = Pools(
            pool, values.cpu().numpy(), pool, np.empty((n, 0), np.int64), self._vectors,
            self._no_brands, np.zeros(n, np.uint64),
        )  # fmt: skip
        chosen = Chosen(
            np.full((n, count), NO_ITEM, np.int64),
            np.full((n, count), -np.inf, np.float32),
            np.ones((n, count)),
        )
        choose(pools, self._options, 0, n, chosen)
        lists = np.full((n, TOP), NO_ITEM, np.int64)
        lists[:, :count] = chosen.rows
        return self._ranks(lists, pool, ranks, targets), lists

    @staticmethod
    def _ranks(
        lists: NDArray[np.int64],
        pool: NDArray[np.int64],
        ranks: NDArray[np.int32],
        targets: NDArray[np.int64],
    ) -> NDArray[np.int32]:
        found = (lists == targets[:, None]) & (targets[:, None] != NO_ITEM)
        # Of what is in the list, so much would be ahead of the target anyway.
        places = (pool[:, :, None] == lists[:, None, :]).argmax(axis=1)
        ahead = ((places < ranks[:, None]) & (lists != NO_ITEM)).sum(axis=1)
        listed = (lists != NO_ITEM).sum(axis=1)
        behind = ranks + (listed - ahead)
        new = np.where(found.any(axis=1), found.argmax(axis=1), behind)
        return np.where(ranks < 0, -1, new).astype(np.int32)
