"""V-SKNN: nearest sessions, weighted by how recently the items they share were acted on.

Ludewig and Jannach, "Evaluation of Session-based Recommendation Algorithms", User Modeling and
User-Adapted Interaction 28 (2018), arXiv:1803.09587. A session is here a user's whole history, as
in the protocol. For a current session of items i_1 … i_n (oldest first):

* candidates: of the other sessions that share an item, the `sample_size` most recent;
* similarity: sim(s) = Σ_{i ∈ s} pos(i)/n, with pos(i) the last position of i ("div" weighting);
* neighbours: the k most similar, the more recent first among equals;
* score: s(j) = (1 + idf_weight · idf(j)) · Σ_{neighbours s ∋ j} sim(s) / step(s), where step(s)
  is 1 if s holds i_n, else 2 if it holds i_(n−1), and so on, and idf(j) = ln(|S| / |{s ∋ j}|).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.data import EventLog
from worker.evaluation.baselines.base import Setting, settings_of
from worker.evaluation.baselines.neighbours import NeighbourRule
from worker.evaluation.baselines.session_knn import (
    linear_weights,
    neighbour_ranks,
    reciprocal_weights,
)
from worker.evaluation.top_lists import TopLists


@dataclass(frozen=True, kw_only=True)
class VSKNN:
    """V-SKNN over the training sessions, or over those of the stream as well."""

    online: bool = False
    """See `NeighbourScorer`."""
    k: int = 100
    """Number of neighbours."""
    sample_size: int = 5000
    """Number of candidates, the most recent ones, from which the neighbours are taken."""
    idf_weight: float = 0.0
    """How much rare items are favoured; 0 leaves the scores as they are."""
    query_length: int = 20
    """How many of a user's last items make up the current session."""
    skip_recent: int = 1
    """Items of the user's last that many events are not recommended again."""
    exclude_seen: bool = False
    """See `replay`."""

    @property
    def name(self) -> str:
        """The name of the method in reports."""
        return "vsknn_online" if self.online else "vsknn"

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
            similarity_weights=linear_weights(self.query_length),
            match_weights=reciprocal_weights(self.query_length),
            distance_weights=np.ones(1),
            cosine=False,
            decay_rate=0.0,
            idf_weight=self.idf_weight,
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
