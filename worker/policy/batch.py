"""What a policy asks of the ranking of one micro-batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.policy.brand_cap import ENOUGH, append, beyond, thin
from worker.policy.items import PolicyItems
from worker.policy.selection_kernel import Chosen, Options, Pools, choose
from worker.ranking_index.narrowing import Narrowing
from worker.ranking_index.shares import in_shares
from worker.rows import NO_ITEM

Found = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Rows and scores, best first, (u, P)."""


@dataclass(frozen=True)
class Selection:
    """How lists are chosen from longer ones, the pools."""

    options: Options
    seeds: NDArray[np.uint64]
    """What chance goes by, (n,)."""
    k: int
    """Length of a list."""

    @property
    def explores(self) -> bool:
        """Whether chance has a part in it."""
        return self.options.epsilon > 0.0


@dataclass(frozen=True)
class BatchPolicy:
    """A policy, and what it makes of each of n queries."""

    items: PolicyItems
    narrowing: Narrowing | None
    """What each query may find; None for everything."""
    pool: int
    """Length of the lists to choose from."""
    selection: Selection | None = None
    """None takes these lists as they are."""
    recent_types: NDArray[np.uint8] | None = None
    """Of the users' recent items, (n, r), if the reasons are to name them."""

    @property
    def added(self) -> NDArray[np.float32] | None:
        """What is added to the scores, by row; None for nothing."""
        return self.items.added

    def apply_to(self, scores: Tensor, part: slice) -> Tensor:
        """Return the scores of some of the queries, (n, rows), with −∞ for what is left out.

        They are changed in place.
        """
        rows, device = scores.shape[1], scores.device
        if self.added is not None:
            scores += torch.from_numpy(self.added[:rows]).to(device)
        if self.narrowing is None:
            return scores
        narrow = self.narrowing.part(part)
        if self.items.restricts:
            groups = torch.from_numpy(narrow.groups).to(device)
            scores.masked_fill_(~self.items.mask(rows, device)[groups], -torch.inf)
        if narrow.excluded.shape[1] and rows:
            leave_out(scores, torch.from_numpy(narrow.excluded).to(device))
        return scores

    def fill_up(
        self,
        rows: NDArray[np.int64],
        scores: NDArray[np.float32],
        start: int,
        search: Callable[[NDArray[np.int64], Narrowing], Found],
    ) -> None:
        """Have pools hold enough for lists under the cap, where there is enough.

        Args:
            rows: of the pools of some of the queries, (m, pool); changed in place.
            scores: likewise.
            start: the first of these queries.
            search: gives the best items for queries, named by their places among these, under
                another narrowing, (u, pool).
        """
        if self.selection is None or self.selection.options.cap == 0:
            return
        cap, k, brands = self.selection.options.cap, self.selection.k, self.items.brands
        counts = np.zeros(self.items.brand_count, np.int64)
        which, pools = np.arange(len(rows)), (rows, scores)
        while which.size:
            kept = thin(*pools, brands, cap, k, counts)
            rows[which], scores[which] = pools
            short = kept != ENOUGH
            which, kept = which[short], kept[short]
            if not which.size:
                return
            narrow = beyond(self._base(start + which), rows[which], brands, cap, counts)
            append(rows, scores, which, kept, *search(which, narrow))
            pools = rows[which], scores[which]

    def choose(
        self,
        found: Found,
        vectors: NDArray[np.float32],
        places: tuple[NDArray[np.int64], NDArray[np.int64]],
        part: slice,
        *,
        threads: int = 1,
    ) -> Chosen:
        """Choose the lists of some of the queries from their pools.

        Args:
            found: the pools, (m, pool).
            vectors: of items.
            places: where among them those of the pools, (m, pool), and those of the users' recent
                items, (m, r), are.
            part: which queries.
            threads: that share the queries.
        """
        assert self.selection is not None, "the lists are to be taken as they are"
        selection, (rows, scores) = self.selection, found
        pools = Pools(
            np.ascontiguousarray(rows, np.int64),
            np.ascontiguousarray(scores, np.float32),
            np.ascontiguousarray(places[0], np.int64),
            np.ascontiguousarray(places[1], np.int64),
            np.ascontiguousarray(vectors, np.float32),
            self.items.brands,
            selection.seeds[part],
        )
        shape = (len(rows), selection.k)
        chosen = Chosen(
            np.full(shape, NO_ITEM, np.int64),
            np.full(shape, -np.inf, np.float32),
            np.ones(shape, np.float64),
        )

        def make(start: int, stop: int) -> None:
            choose(pools, selection.options, start, stop, chosen)

        in_shares(make, len(rows), threads)
        return chosen

    def _base(self, which: NDArray[np.int64]) -> Narrowing:
        if self.narrowing is not None:
            return self.narrowing.part(which)
        nothing = np.empty((len(which), 0), np.int64)
        return Narrowing(self.items.allowed, np.zeros(len(which), np.int64), nothing)


def leave_out(scores: Tensor, excluded: Tensor) -> None:
    """Set scores, (n, rows), of rows to be left out, (n, m), to −∞; −1 is no row."""
    spare = torch.nn.functional.pad(torch.zeros_like(scores, dtype=torch.bool), (0, 1))
    spare.scatter_(1, torch.where(excluded == NO_ITEM, scores.shape[1], excluded), value=True)
    scores.masked_fill_(spare[:, :-1], -torch.inf)
