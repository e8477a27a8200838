"""What every rival of the inner loop is: a recommender scored event by event on a stream."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from worker.data import EventLog


class StreamRecommender(Protocol):
    """A recommender that the prequential (test, then learn) protocol can score."""

    @property
    def name(self) -> str:
        """The name of the method in reports."""
        ...

    def prequential_ranks(
        self, train: EventLog, stream: EventLog, scored: NDArray[np.bool_], n_items: int
    ) -> NDArray[np.int32]:
        """Rank the item of each scored event in the whole catalogue, before learning from it.

        Args:
            train: the events before the cut; learned from in any case.
            stream: the events after the cut, in time order, with the same user and item codes.
                Every event extends its user's history; a method that learns online also learns
                from it, once it has been ranked.
            scored: (len(stream),) which events to rank.
            n_items: size of the catalogue; item codes are below it.

        Returns:
            (len(stream),) the 0-based rank of each event's item: the number of items that the
            method prefers to it, as `CatalogueRanker` defines it; -1 where `scored` is false.
        """
        ...
