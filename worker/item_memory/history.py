"""Users' previous items, from columns of events."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from worker.rows import NO_ITEM


def previous_items(
    users: NDArray[np.int32], items: NDArray[np.int32], count: int
) -> NDArray[np.int32]:
    """Return the items of each event's user before it, newest first: (n,), (n,) → (n, count).

    Args:
        users: user codes of events in time order.
        items: item codes.
        count: how far back; `NO_ITEM` fills up.
    """
    return UserHistories(users, items).before(np.arange(len(users)), count)


class UserHistories:
    """Each user's items in order, to look up what came before an event; 12 bytes an event.

    Args:
        users: user codes of n events in time order.
        items: item codes.
    """

    def __init__(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> None:
        by_user = np.argsort(users, kind="stable")
        self._items = items[by_user].astype(np.int32)
        ordered = users[by_user]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]][: len(ordered)])
        places = np.arange(len(ordered), dtype=np.int32)
        self._place = np.empty_like(places)
        self._place[by_user] = places
        places -= np.repeat(places[starts], np.diff(np.r_[starts, len(ordered)]))
        self._earlier = np.empty_like(places)
        self._earlier[by_user] = places

    def before(self, events: NDArray[np.intp], count: int) -> NDArray[np.int32]:
        """Return the items of the user before each of m events, newest first, (m, count).

        `NO_ITEM` fills up.
        """
        distance = np.arange(1, count + 1)
        known = distance <= self._earlier[events][:, None]
        places = np.where(known, self._place[events][:, None] - distance, 0)
        return np.where(known, self._items[places], NO_ITEM).astype(np.int32)
