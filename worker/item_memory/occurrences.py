"""A log's events as an item memory takes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from worker.data import EventLog
from worker.item_memory.config import WINDOW
from worker.item_memory.history import previous_items
from worker.item_memory.memory import Occurrences


def occurrences(log: EventLog, wanted: NDArray[np.bool_], recent: int) -> Occurrences:
    """Return a log's events as the memory takes them; rows are the log's item codes.

    Args:
        log: events in time order.
        wanted: (len(log),) whose candidates are wanted.
        recent: how many of a user's last items are asked.
    """
    before = previous_items(log.users, log.items, max(WINDOW, recent))
    return Occurrences(
        items=log.items.astype(np.int32),
        before=np.ascontiguousarray(before[:, :WINDOW]),
        times=log.times,
        learns=np.ones(len(log), np.bool_),
        recent=np.ascontiguousarray(before[:, :recent]),
        wanted=wanted,
    )
