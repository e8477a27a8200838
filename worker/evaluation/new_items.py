"""Quality on items that training never saw: what their text, and first events on them, give."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from worker.ranking_quality import TOP, Quality, quality
from worker.split import TimeCut


class NewItemQuality(msgspec.Struct, frozen=True, kw_only=True):
    """Quality on events whose item has no event in training."""

    unseen: Quality
    """On all of them."""
    first_event: Quality
    """On those that are the first event on the item by anyone, the stream before it included."""


class Chance(msgspec.Struct, frozen=True, kw_only=True):
    """What ordering the catalogue at random gives, in expectation."""

    hit_rate: float = msgspec.field(name="hr@20")
    reciprocal_rank: float = msgspec.field(name="mrr@20")


class NewItemEvents:
    """Which events of a stream are on new items.

    Args:
        cut: the events.
        counted: (len(cut.stream),) which of the stream's events are scored.
    """

    def __init__(self, cut: TimeCut, counted: NDArray[np.bool_]) -> None:
        unseen = ~np.isin(cut.stream.items, cut.train.items)
        first = np.zeros(len(cut.stream), np.bool_)
        first[np.unique(cut.stream.items, return_index=True)[1]] = True
        self._unseen = unseen[counted]
        self._first = (unseen & first)[counted]

    def quality(self, ranks: NDArray[np.int32]) -> NewItemQuality:
        """Return the quality of a model's ranks of the scored events."""
        return NewItemQuality(
            unseen=quality(ranks[self._unseen]), first_event=quality(ranks[self._first])
        )


def chance(items: int) -> Chance:
    """Return what a random order of a catalogue gives: every rank is equally likely."""
    listed = min(TOP, items)
    return Chance(
        hit_rate=listed / items,
        reciprocal_rank=float((1.0 / np.arange(1, listed + 1)).sum() / items),
    )
