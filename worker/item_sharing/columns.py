"""Transitions as columns, from a micro-batch and from records of other workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.clickstream import EVENT_TYPE_INDEX
from schemas.item_transitions import ItemTransition
from worker.catalogue import Catalogue
from worker.item_memory.config import WINDOW
from worker.item_memory.transitions import Transitions
from worker.metrics import TransitionDrop
from worker.rows import NO_ITEM
from worker.stages.decode import EventColumns
from worker.stages.fold import FoldedBatch


@dataclass(frozen=True)
class Eligible:
    """Which transitions are to be learned, by their time: after one bound, not after the other."""

    since_ms: int
    until_ms: int

    def drop(self, time: int) -> TransitionDrop | None:
        """Return why a transition of this time is not to be learned, None if it is."""
        if time <= self.since_ms:
            return TransitionDrop.IN_BUNDLE
        return TransitionDrop.TIME_OUT_OF_RANGE if time > self.until_ms else None


def rows_before(recent_rows: NDArray[np.int64], removed: Iterable[int]) -> NDArray[np.int32]:
    """Return the rows that users acted on before the latest, newest first, (n, WINDOW).

    Args:
        recent_rows: rows of the users' recent items, newest first, the latest included, (n, r).
        removed: rows that are no longer in the catalogue; they are left out.
    """
    latest = recent_rows[:, 1 : 1 + WINDOW].astype(np.int32)
    gone = list(removed)
    if gone:
        latest[np.isin(latest, gone)] = NO_ITEM
        closed_up = np.argsort(latest == NO_ITEM, axis=1, kind="stable")
        latest = np.take_along_axis(latest, closed_up, axis=1)
    before = np.full((len(latest), WINDOW), NO_ITEM, np.int32)
    before[:, : latest.shape[1]] = latest
    return before


def of_batch(events: EventColumns, batch: FoldedBatch, removed: Iterable[int]) -> Transitions:
    """Return a transition for each of the n events applied in a micro-batch.

    Those of events that are no evidence of liking an item have the item `NO_ITEM`, and nothing else
    of them counts.

    Args:
        events: where the batch is from.
        batch: the events applied.
        removed: rows that are no longer in the catalogue.
    """
    return Transitions(
        items=batch.rows.astype(np.int32),
        before=rows_before(batch.recent_rows, removed),
        types=batch.types,
        times=np.array([events.times[source] for source in batch.source], np.int64),
    )


def of_events(
    events: Iterable[ItemTransition], catalogue: Catalogue, eligible: Eligible
) -> tuple[Transitions, Counter[TransitionDrop]]:
    """Return the events that can be learned from, as columns, and how many cannot, by reason.

    Items that the catalogue does not hold are left out of those before, too.
    """
    dropped: Counter[TransitionDrop] = Counter()
    items: list[int] = []
    before: list[int] = []
    types: list[int] = []
    times: list[int] = []
    row = catalogue.row
    for event in events:
        item, reason = row(event.item_id), eligible.drop(event.time)
        if item == NO_ITEM or reason is not None:
            dropped[reason or TransitionDrop.UNKNOWN_ITEM] += 1
            continue
        known = [r for r in map(row, event.before[:WINDOW]) if r != NO_ITEM]
        items.append(item)
        before += known
        before += _PADDING[len(known) :]
        types.append(EVENT_TYPE_INDEX[event.type])
        times.append(event.time)
    columns = Transitions(
        items=np.array(items, np.int32),
        before=np.array(before, np.int32).reshape(-1, WINDOW),
        types=np.array(types, np.int64),
        times=np.array(times, np.int64),
    )
    return columns, dropped


_PADDING = [NO_ITEM] * WINDOW
