"""Ranking by the catalogue's index, on a CPU: only what may be listed is ever scored in float32.

Some items have scores of their own: with an item memory its candidates, without one the recent
items. All others go by their inner products, and of those it is enough to know the best few.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from worker.item_memory.memory import Occurrences
from worker.model.interface import AdaptationModel
from worker.model.mixer_kernel import Found, Inputs, MixerArrays, found_arrays, mixed_scores
from worker.model.mixing import collect_wanted
from worker.ranking_index.index import ItemIndex, Nearest
from worker.ranking_index.lists import merge, most_similar, own_products
from worker.ranking_index.narrowing import Narrowing, narrow_own
from worker.ranking_index.shares import in_shares
from worker.rows import NO_ITEM
from worker.stages.ranking_task import Lists, Mixing, RankingTask
from worker.threads import threads_at_hand

_AT_ONCE = 256
"""Users whose candidates are in memory at once."""

_LEAST_SHARE, _LEAST_MIXED = 64, 8
"""Users that are worth a thread of their own, and where each has many candidates to be mixed."""

_NOTHING: NDArray[np.float32] = np.empty(0, np.float32)


def rank_by_index(task: RankingTask) -> Lists:
    """Return rows, scores, reasons and propensities; see `worker.stages.rank.rank`."""
    index = task.catalogue.index
    assert index is not None, "the catalogue has no index: it is not on a CPU"
    ranking = _Ranking(task, index)
    if task.mixing is None:
        ranking.shifted(task.model)
    else:
        ranking.mixed(task.model, task.mixing)
    rows, scores, propensities = ranking.lists()
    return rows, scores, ranking.reasons(rows), propensities


class _Ranking:
    """The ranking of one batch; `rows` and `scores` are the result, (n, pool)."""

    def __init__(self, task: RankingTask, index: ItemIndex) -> None:
        shape = (len(task.queries), task.pool)
        self._index = index
        self._queries: NDArray[np.float32] = np.ascontiguousarray(task.queries.numpy())
        self._vectors: NDArray[np.float32] = task.catalogue.vectors.numpy()
        self._findable = index.findable
        self._recent = task.recent_rows
        self._threads = threads_at_hand()
        self._prior = task.prior
        self._policy = task.policy
        self._narrowing = None if task.policy is None else task.policy.narrowing
        self._added = None if task.policy is None else task.policy.added
        self.rows: NDArray[np.int64] = np.full(shape, NO_ITEM, np.int64)
        self.scores: NDArray[np.float32] = np.full(shape, -np.inf, np.float32)

    def shifted(self, model: AdaptationModel) -> None:
        """Rank by inner products, those of recent items shifted."""
        n, width = self._recent.shape
        first = _first_places(self._recent)
        own = np.where(first == np.arange(width), self._recent, NO_ITEM)
        values = np.empty((n, width), np.float32)

        def products(start: int, stop: int) -> None:
            part = slice(start, stop)
            own_products(
                self._queries[part], self._vectors, self._findable, own[part], values[part]
            )

        in_shares(products, n, self._threads, least=_LEAST_SHARE)
        if width:
            # The model shifts columns: here they are the places of the recent items, not all items.
            model.shift_repeats(torch.from_numpy(values), torch.from_numpy(first))
        near = self._search_narrowed(slice(None), self.rows.shape[1] + width)
        pointers = width * np.arange(n + 1)
        ours = _Own(pointers, own.astype(np.int32).ravel(), values.ravel())
        self._merge(near, slice(0, n), ours, narrowed=True)

    def mixed(self, model: AdaptationModel, mixing: Mixing) -> None:
        """Rank with an item memory mixed in, taking it through the events."""
        n, dense = len(self._queries), mixing.memory.config.dense
        # All of the first are candidates, whatever a policy says: an item's score is what it is
        # without one. Those after them are for lists with items that are none.
        near = self._search(slice(None), dense + self.rows.shape[1])
        listed = near
        if self._added is not None:
            listed = self._search_narrowed(slice(None), dense + self.rows.shape[1])
        named = near.rows[:, :dense].astype(np.int32)
        for start in range(0, n, _AT_ONCE):
            part = slice(start, min(n, start + _AT_ONCE))
            events = mixing.part(part)
            found = collect_wanted(mixing.memory, events, named[part])
            inputs = Inputs(
                self._queries[part],
                self._vectors,
                self._index.norms,
                self._findable,
                np.ascontiguousarray(near.scores[part, :dense]),
                self._latest(events),
            )
            values = self._mix(model.mixer_arrays, inputs, found_arrays(found))
            of_part = Nearest(listed.rows[part], listed.scores[part])
            ours = _Own(found.pointers, found.rows, values)
            self._merge(of_part, part, ours, narrowed=self._added is not None)

    @staticmethod
    def _latest(events: Occurrences) -> NDArray[np.int64]:
        """Return the row of the latest item of each user wanted."""
        latest: NDArray[np.int64] = events.recent[events.wanted, 0].astype(np.int64)
        return latest

    def _mix(self, weights: MixerArrays, inputs: Inputs, found: Found) -> NDArray[np.float32]:
        scores = np.empty(len(found.rows), np.float32)

        def mix(start: int, stop: int) -> None:
            mixed_scores(weights, inputs, found, start, stop, scores)

        in_shares(mix, len(inputs.queries), self._threads, least=_LEAST_MIXED)
        return scores

    def lists(self) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float64] | None]:
        """Return rows and scores of the lists, and the propensities if there are any, (n, k)."""
        if self._policy is None or self._policy.selection is None:
            return self.rows, self.scores, None
        found, places = (self.rows, self.scores), (self.rows, self._recent)
        everything = slice(0, len(self.rows))
        chosen = self._policy.choose(
            found, self._vectors, places, everything, threads=self._threads
        )
        explores = self._policy.selection.explores
        return chosen.rows, chosen.scores, chosen.propensities if explores else None

    def reasons(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return for each item listed the most similar of the user's recent items, (n, k)."""
        closest = np.empty_like(rows)

        def find(start: int, stop: int) -> None:
            part = slice(start, stop)
            most_similar(rows[part], self._recent[part], self._vectors, closest[part])

        in_shares(find, len(rows), self._threads, least=_LEAST_SHARE)
        return closest

    def _search(self, part: slice | NDArray[np.int64], k: int) -> Nearest:
        return self._index.search(self._queries[part], self._vectors, k, threads=self._threads)

    def _search_narrowed(self, part: slice | NDArray[np.int64], k: int) -> Nearest:
        """Search for what the policy lets through, by the scores that it makes."""
        narrowing = self._narrowing
        return self._index.search(
            self._queries[part],
            self._vectors,
            k,
            threads=self._threads,
            narrowing=None if narrowing is None else narrowing.part(part),
            added=self._added,
        )

    def _merge(self, near: Nearest, part: slice, own: _Own, *, narrowed: bool) -> None:
        """Make the lists of some of the queries, deeper where what was found is not enough.

        Args:
            near: what was found for these.
            part: which queries.
            own: items of these with scores of their own; prior and policy are applied to them here.
            narrowed: whether `near` is what the policy lets through, by its scores.
        """
        n, k = len(near.rows), self.rows.shape[1]
        best, scores = self.rows[part], self.scores[part]
        if self._prior is not None:
            arrays = own.pointers, own.rows, own.values
            found = self._queries, self._vectors, self._findable
            own = _Own(*self._prior.own(part, *found, arrays))
        deeper, items = np.zeros(n, np.bool_), len(self._findable)
        narrowing = None
        if self._narrowing is not None:
            narrowing = self._narrowing.part(part)
            added = _NOTHING if self._added is None else self._added
            narrow_own(narrowing, added, own.pointers, own.rows, own.values)
        still = None if narrowed else narrowing
        ours = own.pointers, own.rows, own.values, items

        def put(start: int, stop: int) -> None:
            which, of_these = np.arange(start, stop), slice(start, stop)
            merge(which, near.rows[of_these], near.scores[of_these], *ours,
                  best, scores, deeper, still)  # fmt: skip

        in_shares(put, n, self._threads, least=_LEAST_SHARE)
        again = np.flatnonzero(deeper)
        if again.size:
            best[again], scores[again] = NO_ITEM, -np.inf
            most = int(own.counts(listed=narrowing is not None)[again].max())
            near = self._search_narrowed(part.start + again, k + most)
            merge(again, near.rows, near.scores, *ours, best, scores, deeper, None)
        if self._policy is not None:
            self._policy.fill_up(
                best, scores, part.start, lambda which, narrow: self._more(part, own, which, narrow)
            )

    def _more(
        self, part: slice, own: _Own, which: NDArray[np.int64], narrowing: Narrowing
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the best items, (u, pool), for some queries of a part under another narrowing."""
        ours = own.of(which)
        narrow_own(narrowing, _NOTHING, ours.pointers, ours.rows, ours.values)
        u, k = len(which), self.rows.shape[1]
        near = self._index.search(
            self._queries[part.start + which],
            self._vectors,
            k + int(ours.counts(listed=True).max()),
            threads=self._threads,
            narrowing=narrowing,
            added=self._added,
        )
        rows, scores = np.full((u, k), NO_ITEM, np.int64), np.full((u, k), -np.inf, np.float32)
        unsure = np.zeros(u, np.bool_)
        merge(np.arange(u), near.rows, near.scores, ours.pointers, ours.rows, ours.values,
              len(self._findable), rows, scores, unsure, None)  # fmt: skip
        return rows, scores


@dataclass(frozen=True)
class _Own:
    """Items with scores of their own."""

    pointers: NDArray[np.int64]
    """Those of query i are `pointers[i]:pointers[i + 1]`, (n + 1,)."""
    rows: NDArray[np.int32]
    values: NDArray[np.float32]
    """−∞ for what is not listed."""

    def of(self, which: NDArray[np.int64]) -> _Own:
        """Return a copy of what some of the queries have."""
        sizes = np.diff(self.pointers)[which]
        pointers = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        at = np.repeat(self.pointers[which] - pointers[:-1], sizes) + np.arange(pointers[-1])
        return _Own(pointers, self.rows[at], self.values[at])

    def counts(self, *, listed: bool) -> NDArray[np.int64]:
        """Return how many each query has, (n,); only those that may be listed, if so wanted."""
        if not listed:
            return np.diff(self.pointers)
        before = np.concatenate([[0], np.cumsum(self.values > -np.inf)])
        counts: NDArray[np.int64] = np.diff(before[self.pointers])
        return counts


def _first_places(recent: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each place of (n, r) the first place of the same row; −1 where there is none."""
    same = recent[:, :, None] == recent[:, None, :]
    first: NDArray[np.int64] = np.where(recent == NO_ITEM, NO_ITEM, same.argmax(axis=2))
    return first
