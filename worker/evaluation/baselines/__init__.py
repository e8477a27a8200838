"""The rivals of the inner loop, each scored on the same stream and by the same rank rule."""

from worker.evaluation.baselines.base import StreamRecommender
from worker.evaluation.baselines.covisitation import Covisitation
from worker.evaluation.baselines.factors import factor_rivals
from worker.evaluation.baselines.fast import fast_rivals
from worker.evaluation.baselines.neural import neural_rivals
from worker.evaluation.baselines.popularity import Popularity
from worker.evaluation.baselines.ranking import CatalogueRanker
from worker.evaluation.baselines.registry import Rival, TuningRecord, registry, tuned
from worker.evaluation.baselines.stan import STAN
from worker.evaluation.baselines.vsknn import VSKNN
from worker.evaluation.baselines.vstan import VSTAN

__all__ = [
    "RIVALS",
    "STAN",
    "VSKNN",
    "VSTAN",
    "CatalogueRanker",
    "Covisitation",
    "Popularity",
    "Rival",
    "StreamRecommender",
    "TuningRecord",
    "default_baselines",
    "tuned",
]

RIVALS = registry([fast_rivals(), factor_rivals(), neural_rivals()])
"""Every rival by name, in the order in which reports show them."""


def default_baselines(*, exclude_seen: bool = False) -> list[StreamRecommender]:
    """Return every fast rival at its default settings, in the order in which reports show them."""
    return [
        rival.candidates(exclude_seen=exclude_seen, seed=0, device="cpu")[0]
        for rival in RIVALS.values()
        if rival.group == "fast"
    ]
