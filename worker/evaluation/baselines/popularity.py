"""Recency-weighted popularity: what everyone acts on, lately.

Item i scores s(i) = Σ_e 2^(−(t − t_e) / half-life) over the events e on it, where t is the time of
the last event: of training, or, learned online, of the stream so far.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.data import EventLog
from worker.evaluation.baselines.base import Setting, settings_of
from worker.evaluation.baselines.ranking import CatalogueRanker
from worker.evaluation.baselines.replay import replay
from worker.evaluation.top_lists import TopLists

_LARGEST_EXPONENT = 500.0
"""Of two, for the weight of one event: far from the largest float64, 2^1024."""


class DecayedCounts:
    """The time-decayed number of events of each item; learns one event in constant time.

    All counts decay alike, so instead of them the newest event's weight grows: counts are kept as
    they stand at a reference time, an event adding 2^((t_e − reference) / half-life). That scales
    all scores alike and changes no order.
    """

    def __init__(self, train: EventLog, n_items: int, half_life_ms: float, online: bool) -> None:
        """Count the training events as of the last one; infinity counts every event alike."""
        self._half_life_ms = half_life_ms
        self._online = online
        self._reference = int(train.times.max(initial=0))
        ages = self._reference - train.times
        self._counts = np.bincount(train.items, np.exp2(-ages / half_life_ms), n_items).astype(
            np.float64, copy=False
        )

    def scores(self, user: int, time: int) -> NDArray[np.float64]:
        """See `PrequentialScorer.scores`."""
        return self._counts

    def learn(self, user: int, item: int, time: int) -> None:
        """See `PrequentialScorer.learn`."""
        if not self._online:
            return
        exponent = (time - self._reference) / self._half_life_ms
        if exponent > _LARGEST_EXPONENT:
            self._counts *= np.exp2(-exponent)
            self._reference = time
            exponent = 0.0
        self._counts[item] += 2.0**exponent


@dataclass(frozen=True, kw_only=True)
class Popularity:
    """Time-decayed counts, the same list for every user."""

    online: bool = False
    """Count every event of the stream, of every user, once it has been ranked. Otherwise the list
    stays as it stands at the cut."""
    half_life_ms: float = math.inf
    """Age in milliseconds at which an event counts half; infinity counts every event alike."""
    exclude_seen: bool = False
    """See `replay`."""

    @property
    def name(self) -> str:
        """The name of the method in reports."""
        return "popularity_online" if self.online else "popularity"

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
        return replay(
            train,
            stream,
            scored,
            ranker=CatalogueRanker.from_training(train, n_items),
            scorer=DecayedCounts(train, n_items, self.half_life_ms, self.online),
            exclude_seen=self.exclude_seen,
            lists=lists,
        )
