"""VSTAN: STAN, with V-SKNN's favour for neighbours that share a recent item, and for rare items.

Ludewig, Mauro, Latifi and Jannach, "Empirical analysis of session-based recommendation
algorithms", User Modeling and User-Adapted Interaction 31 (2021), arXiv:1910.12781, as in their
framework session-rec. With sim(s), p(j) and p* as in STAN:

  s(j) = (1 + idf_weight · idf(j)) · Σ_{neighbours s ∋ j} sim(s) · exp(−(m(s) − 1) / match_scale)
         · exp(−|p(j) − p*| / distance_scale),

where m(s) is the smallest step, counted back in the current session, of an item that s has too,
and idf(j) = ln(|S| / |{s ∋ j}|).
"""

from __future__ import annotations

from dataclasses import dataclass

from worker.evaluation.baselines.neighbours import NeighbourRule
from worker.evaluation.baselines.session_knn import exponential_weights
from worker.evaluation.baselines.stan import STAN


@dataclass(frozen=True, kw_only=True)
class VSTAN(STAN):
    """VSTAN over the training sessions, or over those of the stream as well."""

    match_scale: float = 3.5
    """Steps; infinity weighs every neighbour alike, however old the items in common."""
    idf_weight: float = 0.0
    """How much rare items are favoured; 0 leaves the scores as they are."""

    @property
    def name(self) -> str:
        """The name of the method in reports."""
        return "vstan_online" if self.online else "vstan"

    @property
    def rule(self) -> NeighbourRule:
        """The method as `score_catalogue` takes it."""
        return super().rule._replace(
            match_weights=exponential_weights(self.query_length, self.match_scale),
            idf_weight=self.idf_weight,
        )
