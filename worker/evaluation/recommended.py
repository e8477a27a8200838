"""What a model recommends, beyond whether it is right: coverage, novelty and popularity bias.

A model that shows everybody the bestsellers can score well and still be of little use; these
figures, of the lists that `TopLists` collected, show it. Sources are in docs/evaluation.md.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from worker.evaluation.top_lists import NO_ITEM

HEAD_SHARE = 0.8
"""The head is the most popular items that together hold this share of the training events."""


class Recommended(msgspec.Struct, frozen=True, kw_only=True):
    """Of the items that a model put into its lists. None where there are no lists."""

    lists: int
    """Sampled lists that these figures are of."""
    coverage: float | None = msgspec.field(name="coverage@20", default=None)
    """Share of the catalogue that stands in any of the lists."""
    novelty: float | None = None
    """Mean self-information, −log2 of the share of training events, in bits."""
    popularity: float | None = None
    """Mean number of training events."""
    tail_share: float | None = None
    """Share of recommendations that go to items outside the head."""
    gini: float | None = None
    """Gini coefficient of how often each item of the catalogue is recommended: 0 all equally
    often, towards 1 always the same few."""


NOTHING = Recommended(lists=0)
"""Of a model without lists."""


class ItemPopularity:
    """How popular each item is in the training events."""

    def __init__(self, training_events: NDArray[np.int64]) -> None:
        """Take the number of training events of each item, (n_items,)."""
        self.events = training_events
        # Items first seen after the cut have no events; one more for every item keeps their
        # self-information finite.
        smoothed = training_events + 1.0
        self.self_information = -np.log2(smoothed / smoothed.sum())
        order = np.lexsort((np.arange(len(training_events)), -training_events))
        before = np.cumsum(training_events[order]) - training_events[order]
        self.in_tail = np.ones(len(training_events), np.bool_)
        self.in_tail[order[before < HEAD_SHARE * training_events.sum()]] = False


def describe(lists: NDArray[np.int32], popularity: ItemPopularity) -> Recommended:
    """Describe lists of item codes, (n, k); `NO_ITEM` fills up short ones."""
    items = lists[lists != NO_ITEM]
    if not len(items):
        return Recommended(lists=len(lists))
    times_shown = np.bincount(items, minlength=len(popularity.events))
    return Recommended(
        lists=len(lists),
        coverage=float((times_shown > 0).mean()),
        novelty=float(popularity.self_information[items].mean()),
        popularity=float(popularity.events[items].mean()),
        tail_share=float(popularity.in_tail[items].mean()),
        gini=gini(times_shown),
    )


def gini(amounts: NDArray[np.integer]) -> float:
    """Return the Gini coefficient of non-negative amounts (n,), not all zero.

    G = Σ_i (2i − n − 1)·x_i / (n·Σ x), with x ascending and i from 1.
    """
    ascending = np.sort(amounts).astype(np.float64)
    n = len(ascending)
    weights = 2.0 * np.arange(1, n + 1) - n - 1
    return float(weights @ ascending / (n * ascending.sum()))
