"""A log's events as an item memory takes them."""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import NDArray

from worker.data import EventLog
from worker.item_memory.config import WINDOW
from worker.item_memory.history import UserHistories
from worker.item_memory.memory import Occurrences


def occurrences(log: EventLog, wanted: NDArray[np.bool_], recent: int) -> Occurrences:
    """Return a log's events as the memory takes them; rows are the log's item codes.

    Args:
        log: events in time order.
        wanted: (len(log),) whose candidates are wanted.
        recent: how many of a user's last items are asked.
    """
    return LogOccurrences(log, wanted, recent).part(slice(None))


class LogOccurrences:
    """A log's events, to be taken a part at a time: of many, what is looked up would not fit.

    Args:
        log: as of `occurrences`.
        wanted: as of `occurrences`.
        recent: as of `occurrences`.
        skip: leave out so many events, but as what comes before the others.
    """

    def __init__(
        self, log: EventLog, wanted: NDArray[np.bool_], recent: int, *, skip: int = 0
    ) -> None:
        self.items = log.items[skip:]
        """Row of the item acted on, (n,)."""
        self.wanted = wanted[skip:]
        """Whether candidates are wanted, (n,)."""
        self._times = log.times[skip:]
        self._histories = UserHistories(log.users, log.items)
        self._recent = recent
        self._skip = skip

    def wanting(self, wanted: NDArray[np.bool_]) -> LogOccurrences:
        """Return the same events with candidates wanted for others of them, (n,)."""
        other = copy.copy(self)
        other.wanted = wanted
        return other

    def part(self, rows: slice) -> Occurrences:
        """Return some of the events."""
        events = self._skip + np.arange(*rows.indices(len(self.items)))
        before = self._histories.before(events, max(WINDOW, self._recent))
        return Occurrences(
            items=self.items[rows].astype(np.int32),
            before=np.ascontiguousarray(before[:, :WINDOW]),
            times=self._times[rows],
            learns=np.ones(len(events), np.bool_),
            recent=np.ascontiguousarray(before[:, : self._recent]),
            wanted=self.wanted[rows],
        )
