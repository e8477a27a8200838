"""Item-to-item co-visitation: what users act on soon after acting on this item.

Each event on item j at distance d ≤ window after the same user's event on item i adds 1/d to the
weight w(i→j). With a user's last items i_1 (newest), i_2, …, i_n, item j scores

    s(j) = Σ_m decay^(m-1) · w(i_m→j).

The forward, distance-weighted variant of the item-to-item counts of Linden, Smith and York,
"Amazon.com Recommendations: Item-to-Item Collaborative Filtering" (IEEE Internet Computing, 2003);
sequential rules with 1/d weighting in Ludewig and Jannach, "Evaluation of Session-based
Recommendation Algorithms" (UMUAI, 2018, arXiv:1803.09587).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from worker.data import EventLog
from worker.evaluation.baselines.base import Setting, settings_of
from worker.evaluation.baselines.ranking import CatalogueRanker
from worker.evaluation.baselines.replay import HistoryScorer, UserHistories, replay
from worker.evaluation.top_lists import TopLists


class _Row:
    """The followers of one item, in arrays that grow by doubling."""

    __slots__ = ("items", "size", "slots", "weights")

    def __init__(self) -> None:
        self.items = np.empty(4, dtype=np.int32)
        self.weights = np.empty(4, dtype=np.float64)
        self.slots: dict[int, int] = {}
        self.size = 0

    def add(self, item: int, weight: float) -> None:
        slot = self.slots.get(item)
        if slot is not None:
            self.weights[slot] += weight
            return
        if self.size == len(self.items):
            self.items = np.resize(self.items, 2 * self.size)
            self.weights = np.resize(self.weights, 2 * self.size)
        self.items[self.size] = item
        self.weights[self.size] = weight
        self.slots[item] = self.size
        self.size += 1


class CovisitationCounts:
    """The weights w(i→j), learned one event at a time.

    Holds one entry per distinct pair: at most `window` per event learned.
    """

    def __init__(self, n_items: int, window: int, decay: float, query_length: int) -> None:
        self._window = window
        self._decay = decay
        self._query_length = query_length
        self._rows: dict[int, _Row] = {}
        self._scores = np.zeros(n_items)

    def learn(self, history: Sequence[int], item: int) -> None:
        """Add the pairs of one event: `history` is what the user did before it, oldest first."""
        for distance, source in enumerate(islice(reversed(history), self._window), start=1):
            row = self._rows.get(source)
            if row is None:
                row = self._rows[source] = _Row()
            row.add(item, 1.0 / distance)

    def scores(self, history: Sequence[int]) -> NDArray[np.float64]:
        """Return s, (n_items,), for a user's recent items, oldest first; valid until called again.

        Weights are positive, so an item that has never followed one of these scores zero.
        """
        self._scores.fill(0.0)
        factor = 1.0
        for source in islice(reversed(history), self._query_length):
            row = self._rows.get(source)
            if row is not None:
                # Items of a row are distinct, so the indexed addition loses none.
                self._scores[row.items[: row.size]] += factor * row.weights[: row.size]
            factor *= self._decay
        return self._scores


@dataclass(frozen=True, kw_only=True)
class Covisitation:
    """Co-visitation counts from the training events, or learned on from the stream."""

    online: bool = False
    """Learn from every event of the stream, of every user, once it has been ranked. Otherwise
    the counts stay as they stand at the cut; a user's own events still make up the query."""
    window: int = 5
    """How many events ahead a pair may reach."""
    query_length: int = 10
    """How many of a user's last items are asked for their followers."""
    decay: float = 0.8
    """Factor per step back in the query."""
    skip_recent: int = 0
    """Items of the user's last that many events are not recommended again."""
    exclude_seen: bool = False
    """See `replay`."""

    @property
    def name(self) -> str:
        """The name of the method in reports."""
        return "covisitation_online" if self.online else "covisitation"

    @property
    def settings(self) -> dict[str, Setting]:
        """The hyper-parameters."""
        return settings_of(self)

    def prequential_ranks(
        self,
        train: EventLog,
        stream: EventLog,
        scored: NDArray[np.bool_],
        n_items: int,
        lists: TopLists | None = None,
    ) -> NDArray[np.int32]:
        """See `StreamRecommender.prequential_ranks`.

        Windows reach back over the cut: an earlier user's events before it are the context of
        those after it.
        """
        counts = CovisitationCounts(n_items, self.window, self.decay, self.query_length)
        histories = UserHistories(max(self.window, self.query_length, self.skip_recent))
        histories.follow(train, counts.learn)

        def score(history: Sequence[int]) -> NDArray[np.float64]:
            scores = counts.scores(history)
            for item in islice(reversed(history), self.skip_recent):
                scores[item] = 0.0
            return scores

        return replay(
            train,
            stream,
            scored,
            ranker=CatalogueRanker.from_training(train, n_items),
            scorer=HistoryScorer(histories, score, counts.learn if self.online else None),
            exclude_seen=self.exclude_seen,
            lists=lists,
        )
