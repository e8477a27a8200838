"""The catalogue as the neural rivals number it: by training popularity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.errors import DataError
from worker.data import EventLog
from worker.training.sequences import UserStreams


class Catalogue:
    """Rows of the catalogue: row 0 is the item with most training events; see `CatalogueRanker`.

    Items without training events come last: the first `known` rows are those to learn.

    Raises:
        DataError: there are no training events.
    """

    def __init__(self, train: EventLog, n_items: int) -> None:
        counts = np.bincount(train.items, minlength=n_items)
        self.item_of_row = np.lexsort((np.arange(n_items), -counts))
        self.counts: NDArray[np.int64] = counts[self.item_of_row].astype(np.int64)
        """Training events by row, descending, (n_items,)."""
        self.known = int(np.count_nonzero(counts))
        if self.known == 0:
            raise DataError("there are no events before the cut to train a neural rival on")
        self._row_of_item = np.empty(n_items, np.int32)
        self._row_of_item[self.item_of_row] = np.arange(n_items, dtype=np.int32)

    def __len__(self) -> int:
        return len(self.item_of_row)

    def by_row(self, log: EventLog) -> EventLog:
        """Return the log with rows in place of item codes."""
        rows = self._row_of_item[log.items]
        return EventLog(log.users, rows, log.types, log.times, log.user_ids)


@dataclass(frozen=True)
class HistoryBatch:
    """The histories of n users, padded to the longest."""

    rows: Tensor
    """Rows of the items, oldest first, (n, T) int64; 0 where there is no event."""
    scored: Tensor
    """True at the events to rank, (n, T)."""
    positions: NDArray[np.intp]
    """Where the events to rank stand in the stream, in the order of `scored`'s true entries."""


def scored_histories(
    catalogue: Catalogue,
    train: EventLog,
    stream: EventLog,
    scored: NDArray[np.bool_],
    users_at_once: int,
) -> Iterator[HistoryBatch]:
    """Yield the whole histories of the scored users, what they did before the cut included."""
    users = np.unique(stream.users[scored])
    before = np.isin(train.users, users)
    # What a user does after the last scored event changes nothing.
    last_scored = np.full(len(stream.user_ids), -1)
    rows = np.flatnonzero(scored)
    if not len(rows):
        return
    last_scored[stream.users[rows]] = rows
    after = np.arange(len(stream)) <= last_scored[stream.users]
    log = catalogue.by_row(_joined(train.where(before), stream.where(after)))
    position = np.r_[np.full(np.count_nonzero(before), -1), np.flatnonzero(after)]
    is_scored = np.r_[np.zeros(np.count_nonzero(before), np.bool_), scored[after]]
    streams = UserStreams(log, longest=max(1, len(log)))
    for batch, batch_rows in streams.batches_with_rows(users_at_once):
        wanted = batch.mask.clone()
        wanted[batch.mask] = torch.from_numpy(is_scored[batch_rows])
        yield HistoryBatch(batch.items, wanted, position[batch_rows][is_scored[batch_rows]])


def _joined(first: EventLog, second: EventLog) -> EventLog:
    return EventLog(
        np.concatenate([first.users, second.users]),
        np.concatenate([first.items, second.items]),
        np.concatenate([first.types, second.types]),
        np.concatenate([first.times, second.times]),
        second.user_ids,
    )
