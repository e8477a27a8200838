"""Recency-weighted popularity: what everyone acts on, lately.

Item i scores s(i) = Σ_e 2^(−(t_cut − t_e) / half-life) over its training events e, where t_cut is
the time of the last training event. The method does not learn online: it is scored as it stands
at the cut.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from worker.data import EventLog
from worker.evaluation.baselines.base import Setting, settings_of
from worker.evaluation.baselines.ranking import CatalogueRanker
from worker.evaluation.baselines.replay import UserHistories, replay
from worker.evaluation.baselines.selection import choose_on_validation
from worker.evaluation.top_lists import TopLists

_HOUR_MS = 3600 * 1000.0
_DAY_MS = 24 * _HOUR_MS

HALF_LIVES_MS = (
    math.inf,
    *(years * 365 * _DAY_MS for years in (4, 2, 1)),
    *(days * _DAY_MS for days in (90, 30, 7, 1)),
    *(hours * _HOUR_MS for hours in (6, 1)),
)
"""The half-lives to choose from, longest first; infinity counts every event alike."""


def decayed_counts(events: EventLog, n_items: int, half_life_ms: float) -> NDArray[np.float64]:
    """Return the time-decayed number of events of each item, (n_items,), as of the last event."""
    ages = events.times.max(initial=0) - events.times
    counts = np.bincount(events.items, np.exp2(-ages / half_life_ms), n_items)
    return counts.astype(np.float64, copy=False)


@dataclass(frozen=True, kw_only=True)
class Popularity:
    """Time-decayed counts of the training events, the same list for every user."""

    half_life_ms: float | None = None
    """Age in milliseconds at which an event counts half; infinity counts every event alike; None
    chooses one of `HALF_LIVES_MS` by `choose_on_validation`, the longer one among equals."""
    exclude_seen: bool = False
    """See `replay`."""

    @property
    def name(self) -> str:
        """The name of the method in reports."""
        return "popularity"

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
        scores = decayed_counts(train, n_items, self.chosen_half_life(train, n_items))
        return replay(
            train,
            stream,
            scored,
            ranker=CatalogueRanker.from_training(train, n_items),
            histories=UserHistories(0),
            score=lambda _history: scores,
            exclude_seen=self.exclude_seen,
            lists=lists,
        )

    def chosen_half_life(self, train: EventLog, n_items: int) -> float:
        """Return the half-life in milliseconds: the one given, or else the one chosen."""
        if self.half_life_ms is not None:
            return self.half_life_ms
        candidates = [replace(self, half_life_ms=half_life) for half_life in HALF_LIVES_MS]
        chosen = choose_on_validation(candidates, train, n_items).half_life_ms
        return math.inf if chosen is None else chosen
