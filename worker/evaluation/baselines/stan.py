"""STAN: nearest sessions, weighted by position, by recency and by distance within the neighbour.

Garg, Gupta, Malhotra, Vig and Shroff, "Sequence and Time Aware Neighborhood for Session-based
Recommendations" (SIGIR 2019, doi:10.1145/3331184.3331322). A session is here a user's whole
history, as in the protocol. For a current session of n events at time t:

* an item of the current session at step m, counted back from its newest event, weighs
  exp(−(m − 1) / position_scale);
* sim(s) is the cosine of these weights with the set of items of s, times
  exp(−(t − t_s) / recency_scale_ms), t_s being the time of the last event of s; the k most similar
  of the `sample_size` most recent candidates are the neighbours;
* score: s(j) = Σ_{neighbours s ∋ j} sim(s) · exp(−|p(j) − p*| / distance_scale), with p(j) the
  position of j in s, and p* that of the last item there that the current session has too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.data import EventLog
from worker.evaluation.baselines.base import Setting, settings_of
from worker.evaluation.baselines.neighbours import NeighbourRule
from worker.evaluation.baselines.session_knn import (
    distance_weights,
    exponential_weights,
    neighbour_ranks,
)
from worker.evaluation.top_lists import TopLists


@dataclass(frozen=True, kw_only=True)
class STAN:
    """STAN over the training sessions, or over those of the stream as well."""

    online: bool = False
    """See `NeighbourScorer`."""
    k: int = 500
    """Number of neighbours."""
    sample_size: int = 5000
    """Number of candidates, the most recent ones, from which the neighbours are taken."""
    position_scale: float = 3.5
    """Events; λ1 of the paper. Infinity weighs every item of the current session alike."""
    recency_scale_ms: float = math.inf
    """Milliseconds; λ2 of the paper. Infinity weighs every neighbour's time alike."""
    distance_scale: float = 3.5
    """Events; λ3 of the paper. Infinity weighs every item of a neighbour alike."""
    query_length: int = 20
    """How many of a user's last items make up the current session."""
    skip_recent: int = 1
    """Items of the user's last that many events are not recommended again."""
    exclude_seen: bool = False
    """See `replay`."""

    @property
    def name(self) -> str:
        """The name of the method in reports."""
        return "stan_online" if self.online else "stan"

    @property
    def settings(self) -> dict[str, Setting]:
        """The hyper-parameters."""
        return settings_of(self)

    @property
    def rule(self) -> NeighbourRule:
        """The method as `score_catalogue` takes it."""
        return NeighbourRule(
            k=self.k,
            sample_size=self.sample_size,
            query_length=self.query_length,
            similarity_weights=exponential_weights(self.query_length, self.position_scale),
            match_weights=exponential_weights(self.query_length, math.inf),
            distance_weights=distance_weights(self.distance_scale),
            cosine=True,
            decay_rate=1.0 / self.recency_scale_ms,
            idf_weight=0.0,
            skip_recent=self.skip_recent,
        )

    def prequential_ranks(
        self,
        train: EventLog,
        stream: EventLog,
        scored: NDArray[np.bool_],
        n_items: int,
        lists: TopLists | None = None,
    ) -> NDArray[np.int32]:
        """See `StreamRecommender.prequential_ranks`."""
        return neighbour_ranks(
            train,
            stream,
            scored,
            n_items,
            rule=self.rule,
            online=self.online,
            exclude_seen=self.exclude_seen,
            lists=lists,
        )
