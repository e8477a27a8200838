"""The rivals of the inner loop, each scored on the same stream and by the same rank rule."""

from worker.evaluation.baselines.base import StreamRecommender
from worker.evaluation.baselines.covisitation import Covisitation
from worker.evaluation.baselines.popularity import Popularity
from worker.evaluation.baselines.ranking import CatalogueRanker
from worker.evaluation.baselines.vsknn import VSKNN

__all__ = [
    "VSKNN",
    "CatalogueRanker",
    "Covisitation",
    "Popularity",
    "StreamRecommender",
    "default_baselines",
]


def default_baselines(*, exclude_seen: bool = False) -> list[StreamRecommender]:
    """Return every baseline at its default settings, in the order in which reports show them."""
    return [
        Popularity(exclude_seen=exclude_seen),
        Covisitation(exclude_seen=exclude_seen),
        Covisitation(online=True, exclude_seen=exclude_seen),
        VSKNN(exclude_seen=exclude_seen),
    ]
