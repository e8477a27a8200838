"""What a scored method shows besides its ranks: top lists of a sample of events, and its progress.

Ranks tell how near the item acted on was; the lists tell what else was recommended, which is what
coverage, novelty and popularity bias are made of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from worker.ranking_quality import TOP

SAMPLE = 10_000
"""Events whose lists are kept, unless told otherwise."""

NO_ITEM = -1
"""Fills up the lists of a catalogue with fewer items than a list has places."""


class TopLists:
    """Collects the first `TOP` items that a method recommends at a seeded sample of scored events.

    Equal arguments sample equal events, so the lists of different methods answer the same ones.
    """

    def __init__(
        self,
        scored: NDArray[np.bool_],
        *,
        sample: int = SAMPLE,
        seed: int = 0,
        on_scored: Callable[[int], None] = lambda events: None,
    ) -> None:
        """Draw the sample.

        Args:
            scored: (len(stream),) which events the method ranks.
            sample: how many of them to keep the lists of; all of them if there are no more.
            seed: of the draw.
            on_scored: told by `advance`.
        """
        candidates = np.flatnonzero(scored)
        chosen = np.random.default_rng(seed).choice(
            candidates, min(sample, len(candidates)), replace=False
        )
        self._mask = np.zeros(len(scored), np.bool_)
        self._mask[chosen] = True
        self._lists: dict[int, NDArray[np.int32]] = {}
        self._on_scored = on_scored

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The wanted events, (len(stream),); for methods that work on many events at once."""
        return self._mask

    def wants(self, row: int) -> bool:
        """Return whether the list of the stream's event `row` is wanted."""
        return bool(self._mask[row])

    def rows(self) -> NDArray[np.intp]:
        """Return the rows of the wanted events in the stream, ascending."""
        return np.flatnonzero(self._mask)

    def add(self, row: int, items: Sequence[int] | NDArray[np.integer]) -> None:
        """Keep the list of one event.

        Args:
            row: position of the event in the stream.
            items: distinct item codes, best first, as they stood before the event was learned
                from; the first `TOP` are kept. With seen items excluded, without those.

        Raises:
            ValueError: the event's list is not wanted.
        """
        if not self._mask[row]:
            raise ValueError(f"the list of event {row} is not wanted; ask `wants` first")
        self._lists[row] = np.asarray(items[:TOP], np.int32)

    def advance(self, events: int) -> None:
        """Note that `events` more scored events are done.

        A method calls this with 0 once it is trained and begins to score: that is how reports tell
        the time of the one from that of the other.
        """
        self._on_scored(events)

    def lists(self) -> NDArray[np.int32]:
        """Return the lists added, in the stream's order, (n, TOP); `NO_ITEM` fills short ones.

        An event that a method does not rank (one on an excluded item) has no list.
        """
        result = np.full((len(self._lists), TOP), NO_ITEM, np.int32)
        for place, row in enumerate(sorted(self._lists)):
            items = self._lists[row]
            result[place, : len(items)] = items
        return result
