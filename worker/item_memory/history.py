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
    by_user = np.argsort(users, kind="stable")
    ordered_users, ordered_items = users[by_user], items[by_user]
    before = np.full((len(users), count), NO_ITEM, np.int32)
    for distance in range(1, min(count, len(users) - 1) + 1):
        same = ordered_users[distance:] == ordered_users[:-distance]
        before[by_user[distance:][same], distance - 1] = ordered_items[:-distance][same]
    return before
