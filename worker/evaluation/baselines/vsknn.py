"""V-SKNN: nearest training users, weighted by how recently the items they share were acted on.

Ludewig and Jannach, "Evaluation of Session-based Recommendation Algorithms", User Modeling and
User-Adapted Interaction 28 (2018), arXiv:1803.09587. A session is here a user's whole history, as
in the protocol. For a current session of items i_1 … i_n (oldest first):

* candidates: of the training sessions that share an item, the `sample_size` most recent;
* similarity: sim(s) = Σ_{i ∈ s} pos(i)/n, with pos(i) the last position of i ("div" weighting);
* neighbours: the k most similar, the more recent first among equals;
* score: s(j) = (1 + idf_weight · idf(j)) · Σ_{neighbours s ∋ j} sim(s) / step(s), where step(s)
  is 1 if s holds i_n, else 2 if it holds i_(n−1), and so on, and idf(j) = ln(|S| / |{s ∋ j}|).

It does not learn online: it is scored as it stands at the cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from worker.data import EventLog
from worker.evaluation.baselines.base import Setting, settings_of
from worker.evaluation.baselines.ranking import CatalogueRanker
from worker.evaluation.baselines.replay import UserHistories, replay
from worker.evaluation.baselines.selection import choose_on_validation
from worker.evaluation.top_lists import TopLists

IDF_WEIGHTS = (0.0, 0.5, 1.0)
"""The idf weights to choose from."""

Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Adjacency:
    """A sparse 0/1 matrix by rows: row r holds `columns[starts[r]:starts[r + 1]]`, ascending."""

    starts: Codes
    columns: Codes

    @classmethod
    def from_pairs(cls, rows: Codes, columns: Codes, n_rows: int) -> Adjacency:
        """Build from distinct (row, column) pairs in any order."""
        order = np.lexsort((columns, rows))
        starts = np.zeros(n_rows + 1, dtype=np.int64)
        np.cumsum(np.bincount(rows, minlength=n_rows), out=starts[1:])
        return cls(starts, columns[order])

    def row(self, index: int) -> Codes:
        """Return the columns of one row."""
        return self.columns[self.starts[index] : self.starts[index + 1]]

    def rows(self, indices: Codes) -> tuple[Codes, Codes]:
        """Return the columns of several rows, one after the other, and the length of each."""
        starts = self.starts[indices]
        lengths = self.starts[indices + 1] - starts
        ends = np.cumsum(lengths)
        total = int(ends[-1]) if len(ends) else 0
        within = np.arange(total) - np.repeat(ends - lengths, lengths)
        return self.columns[np.repeat(starts, lengths) + within], lengths


class SessionIndex:
    """The training sessions, numbered from the most recent, and where each item occurs."""

    def __init__(self, train: EventLog, n_items: int) -> None:
        # Rows are in time order: a user's last row says how recent the user is, ties included.
        users, rows_from_end = np.unique(train.users[::-1], return_index=True)
        recency = np.empty(len(users), dtype=np.int64)
        recency[np.argsort(rows_from_end)] = np.arange(len(users))
        sessions = recency[np.searchsorted(users, train.users)]
        pairs = np.unique(sessions * n_items + train.items)
        sessions, items = pairs // n_items, pairs % n_items
        self.n_items = n_items
        self.n_sessions = len(users)
        self.items_of = Adjacency.from_pairs(sessions, items, self.n_sessions)
        self.sessions_with = Adjacency.from_pairs(items, sessions, n_items)
        occurrences = np.bincount(items, minlength=n_items)
        self.idf = np.log(max(self.n_sessions, 1) / np.maximum(occurrences, 1))


class NeighbourScorer:
    """Scores the catalogue for a current session from its nearest training sessions."""

    def __init__(self, index: SessionIndex, k: int, sample_size: int, idf_weight: float) -> None:
        self._index = index
        self._k = k
        self._sample_size = sample_size
        self._item_factors = 1.0 + idf_weight * index.idf
        # One slot per training session: sums, zero between calls, and values, set before use.
        self._position_sums = np.zeros(index.n_sessions, dtype=np.int64)
        self._step_decay = np.zeros(index.n_sessions)

    def scores(self, history: Sequence[int]) -> NDArray[np.float64]:
        """Return s, (n_items,), for a user's recent items, oldest first."""
        neighbours, weights = self.neighbours(history)
        if len(neighbours) == 0:
            return np.zeros(self._index.n_items)
        items, lengths = self._index.items_of.rows(neighbours)
        totals = np.bincount(items, np.repeat(weights, lengths), self._index.n_items)
        return self._item_factors * totals

    def neighbours(self, history: Sequence[int]) -> tuple[Codes, NDArray[np.float64]]:
        """Return the nearest sessions, nearest first, and sim(s)/step(s) of each."""
        last_positions = {item: position for position, item in enumerate(history, start=1)}
        length = len(history)
        occurrences = []
        for item, position in sorted(last_positions.items(), key=lambda pair: pair[1]):
            # Of a union, the most recent `sample_size` are among each part's most recent ones.
            sessions = self._index.sessions_with.row(item)[: self._sample_size]
            self._position_sums[sessions] += position
            # From the oldest item on, so that the most recent item in common has the last word.
            self._step_decay[sessions] = 1.0 / (length - position + 1)
            occurrences.append(sessions)
        if not occurrences:
            return np.empty(0, dtype=np.int64), np.empty(0)
        touched = np.unique(np.concatenate(occurrences))
        candidates = touched[: self._sample_size]
        # n · sim(s), in integers, so that equal similarities are equal whatever they are sums of.
        position_sums = self._position_sums[candidates]
        # Candidates come most recent first; a stable sort keeps that order among equals.
        nearest = np.argsort(-position_sums, kind="stable")[: self._k]
        weights = position_sums[nearest] / length * self._step_decay[candidates[nearest]]
        self._position_sums[touched] = 0
        return candidates[nearest], weights


@dataclass(frozen=True, kw_only=True)
class VSKNN:
    """V-SKNN over the training users."""

    k: int = 100
    """Number of neighbours."""
    sample_size: int = 5000
    """Number of candidates, the most recent ones, from which the neighbours are taken."""
    idf_weight: float | None = None
    """How much rare items are favoured; 0 leaves the scores as they are; None chooses one of
    `IDF_WEIGHTS` by `choose_on_validation`."""
    query_length: int = 20
    """How many of a user's last items make up the current session."""
    exclude_seen: bool = False
    """See `replay`."""

    @property
    def name(self) -> str:
        """The name of the method in reports."""
        return "vsknn"

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
        """See `StreamRecommender.prequential_ranks`."""
        index = SessionIndex(train, n_items)
        idf_weight = self.chosen_idf_weight(train, n_items)
        scorer = NeighbourScorer(index, self.k, self.sample_size, idf_weight)
        histories = UserHistories(self.query_length)
        histories.follow(train)
        return replay(
            train,
            stream,
            scored,
            ranker=CatalogueRanker.from_training(train, n_items),
            histories=histories,
            score=scorer.scores,
            exclude_seen=self.exclude_seen,
            lists=lists,
        )

    def chosen_idf_weight(self, train: EventLog, n_items: int) -> float:
        """Return the idf weight: the one given, or else the one chosen."""
        if self.idf_weight is not None:
            return self.idf_weight
        candidates = [replace(self, idf_weight=weight) for weight in IDF_WEIGHTS]
        return choose_on_validation(candidates, train, n_items).idf_weight or 0.0
