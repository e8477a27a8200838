"""Live prequential evaluation: was the item in what we last published for the user?

Test, then learn: every event on a known item, of a type that is evidence of liking, is looked up in
the list published after the user's event before it. Before a user's first event that is the list
which a user without events would get. For a user whose state was restored the list is ranked again
from that state: it is the one published, but for changes of the catalogue since, and for what a
policy makes of the event that it answered (its surface, and what was tried). Where what is trending
is used, these lists and those before a first event go by what is trending on all surfaces.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from worker.catalogue import Catalogue
from worker.coalescing.asked import Asked
from worker.events_seen import EVENTS_SEEN_LABELS, events_seen_bucket
from worker.metrics import WorkerMetrics
from worker.model.interface import AdaptationModel
from worker.policy.policy import Policy
from worker.rows import NO_ITEM
from worker.stages.adapt import queries_of
from worker.stages.fold import FoldedBatch
from worker.stages.fold_kernel import NONE_BEFORE
from worker.stages.rank import MemoryStep, rank
from worker.state.arena import UserArena
from worker.trending.prior import TrendingPrior


class LivePrequential:
    """Keeps the score of what was published, by how many events of the user came before.

    Args:
        model: ranks restored users and users without events.
        catalogue: the items.
        arena: remembers what was last published for whom.
        metrics: where the score is kept.
        top_k: length of a list.
        memory: gives the item memory that lists are ranked with, as it is now.
        policy: what lists are made of beyond the scores.
        prior: what is trending, for users of whom little is known.
    """

    def __init__(
        self,
        model: AdaptationModel,
        catalogue: Catalogue,
        arena: UserArena,
        metrics: WorkerMetrics,
        top_k: int,
        *,
        memory: Callable[[], MemoryStep | None] = lambda: None,
        policy: Policy | None = None,
        prior: TrendingPrior | None = None,
    ) -> None:
        self._model = model
        self._catalogue = catalogue
        self._arena = arena
        self._metrics = metrics
        self._top_k = top_k
        self._start_list: NDArray[np.int64] = np.full(top_k, NO_ITEM)
        self._start_revision = (-1, -1, -1)
        self._memory = memory
        self._policy = policy
        self._prior = prior

    def recall_lists(self, batch: FoldedBatch) -> None:
        """Rank for users of the batch whose last list is not known, and for those without one.

        To be called after `fold` and before `adapt`, while the arrays, and what the item memory
        knows, are those before the batch.
        """
        if (batch.events_seen == 1).any():
            self.rank_without_events()
        slots = batch.unpublished.slots
        if slots.size:
            queries = queries_of(self._arena, slots, self._model)
            known = batch.unpublished
            self._remember(slots, self._rank(queries, known.recent_rows, known.recent_types))

    def score(
        self, batch: FoldedBatch, published: NDArray[np.int64], asked: Asked | None = None
    ) -> None:
        """Score the batch's events and remember the lists that answer them.

        Args:
            batch: the events applied.
            published: catalogue rows of the lists, (n, k): an event's each, or those `asked` for.
            asked: which lists there are, if not one for each event.
        """
        scored = np.flatnonzero(batch.rows != NO_ITEM)
        if scored.size:
            lists = (
                self._lists_before(batch, published)
                if asked is None
                else self._lists_before_all(batch)
            )[scored]
            self._count(batch.rows[scored], lists, batch.events_seen[scored] - 1)
        if asked is not None:
            self._remember(asked.slots, published)
            return
        last = batch.last_of_user()
        self._remember(batch.slots[last], published[last])

    def _lists_before(self, batch: FoldedBatch, published: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the list that stood before each event, (n, k)."""
        lists = self._arena.published_rows[batch.slots].astype(np.int64)
        again = batch.previous != NONE_BEFORE
        lists[again] = published[batch.previous[again]]
        lists[batch.events_seen == 1] = self._start_list
        return lists

    def _lists_before_all(self, batch: FoldedBatch) -> NDArray[np.int64]:
        """Return the list that stood before each event where none was published in between."""
        lists = self._arena.published_rows[batch.slots].astype(np.int64)
        start = batch.events_seen == 1
        for number in range(1, int(batch.rounds.max(initial=0)) + 1):
            here = np.flatnonzero(batch.rounds == number)
            start[here] |= start[batch.previous[here]]
        lists[start] = self._start_list
        return lists

    def rank_without_events(self) -> None:
        """Rank for a user without events, unless that list is still right."""
        memory, prior = self._memory(), self._prior
        if prior is not None:
            prior.level()
        revision = (
            self._catalogue.revision,
            0 if memory is None else memory.memory.revision,
            0 if prior is None else prior.revision,
        )
        if self._start_revision != revision:
            query = self._model.queries(self._model.start(1))
            nothing = np.full((1, 1), NO_ITEM)
            self._start_list = self._rank(query, nothing, np.zeros((1, 1), np.uint8))[0]
            self._start_revision = revision

    def _rank(
        self, queries: Tensor, recent: NDArray[np.int64], types: NDArray[np.uint8]
    ) -> NDArray[np.int64]:
        return rank(
            queries,
            recent,
            self._catalogue,
            self._model,
            self._top_k,
            memory=self._memory(),
            policy=None if self._policy is None else self._policy.for_users(recent, types),
            prior=None if self._prior is None else self._prior.for_lists(None, recent),
        ).rows

    def _remember(self, slots: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        self._arena.published_rows[slots] = rows
        self._arena.published_known[slots] = True

    def _count(
        self,
        targets: NDArray[np.int64],
        lists: NDArray[np.int64],
        seen_before: NDArray[np.int64],
    ) -> None:
        found = lists == targets[:, None]
        hits = found.any(axis=1)
        reciprocal = hits / (1.0 + found.argmax(axis=1))
        popular = np.isin(targets, self._popular_rows())
        buckets = events_seen_bucket(seen_before)
        metrics = self._metrics
        for counter, values in (
            (metrics.prequential_events, np.ones(len(targets))),
            (metrics.prequential_hits, hits),
            (metrics.prequential_reciprocal_rank, reciprocal),
            (metrics.prequential_popularity_hits, popular),
        ):
            sums = np.bincount(buckets, weights=values, minlength=len(EVENTS_SEEN_LABELS))
            for label, total in zip(EVENTS_SEEN_LABELS, sums, strict=True):
                if total:
                    counter.labels(label).inc(float(total))

    def _popular_rows(self) -> list[int]:
        popular = self._model.popular_items[: self._top_k]
        return [row for item in popular if (row := self._catalogue.row(item)) != NO_ITEM]
