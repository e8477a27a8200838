"""What is known of users besides the model's arrays: a column a fact, a row a slot."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.rows import NO_ITEM

NO_OFFSET = -1
NO_PARTITION = -1
"""Partition of a slot that is free."""

NEVER = 0
"""`last_time` of a user whose events so far told the model nothing; `active` of one without any."""

KEPT_AS_TEXT = NO_ITEM - 1
"""In place of the row of an item that the catalogue does not hold: its id is kept beside."""


class UserColumns(NamedTuple):
    """Facts about users by slot, and the latest events of each, r at most, oldest first.

    Compiled code reads and writes them; a tuple of arrays is what it can be given.
    """

    partition: NDArray[np.int32]
    """Partition of `clickstream` with the user's events, and of `user-state` with the state."""
    offset: NDArray[np.int64]
    """Of the last record applied."""
    events_seen: NDArray[np.int64]
    last_time: NDArray[np.int64]
    """Latest time of an event that the model learned from, milliseconds since the epoch."""
    active: NDArray[np.int64]
    """Latest time of any event, milliseconds since the epoch."""
    kept: NDArray[np.int64]
    """Events in the columns from here on; what lies beyond is void."""
    keys: NDArray[np.uint64]
    """`schemas.user_state.event_key` of each event, (slots, r)."""
    types: NDArray[np.uint8]
    """Rows of `EVENT_TYPE_INDEX`, (slots, r)."""
    times: NDArray[np.int64]
    """Milliseconds since the epoch, (slots, r)."""
    items: NDArray[np.int32]
    """Catalogue row of the item, `NO_ITEM`, or `KEPT_AS_TEXT`, (slots, r)."""
    rows: NDArray[np.int32]
    """Catalogue row of the item where the event is evidence of liking it, else `NO_ITEM`,
    (slots, r)."""
    idle: NDArray[np.bool_]
    """Whether the event's type, or a blank search, is evidence of nothing, (slots, r)."""

    @classmethod
    def empty(cls, slots: int, recent_events: int) -> UserColumns:
        """Return the columns of free slots."""
        wide = (slots, recent_events)
        return cls(
            partition=np.full(slots, NO_PARTITION, np.int32),
            offset=np.full(slots, NO_OFFSET, np.int64),
            events_seen=np.zeros(slots, np.int64),
            last_time=np.full(slots, NEVER, np.int64),
            active=np.full(slots, NEVER, np.int64),
            kept=np.zeros(slots, np.int64),
            keys=np.zeros(wide, np.uint64),
            types=np.zeros(wide, np.uint8),
            times=np.zeros(wide, np.int64),
            items=np.full(wide, NO_ITEM, np.int32),
            rows=np.full(wide, NO_ITEM, np.int32),
            idle=np.zeros(wide, np.bool_),
        )

    def grown(self, more: int) -> UserColumns:
        """Return these columns with so many free slots added."""
        added = UserColumns.empty(more, self.keys.shape[1])
        pairs = zip(self, added, strict=True)
        return UserColumns(*(np.concatenate([np.asarray(a), np.asarray(b)]) for a, b in pairs))

    def begin(self, slots: NDArray[np.int64], partitions: NDArray[np.int32]) -> None:
        """Make these slots those of users without events."""
        self.partition[slots] = partitions
        self.offset[slots] = NO_OFFSET
        self.events_seen[slots] = 0
        self.last_time[slots] = NEVER
        self.active[slots] = NEVER
        self.kept[slots] = 0
