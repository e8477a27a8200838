"""Which events the model learns from, and on what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.clickstream import SUPPORT_TYPES, EventType
from worker.rows import NO_ITEM
from worker.state.user_columns import NEVER

QUERY_CHARACTERS = 512
"""Characters of a search query that are used: more than a text encoder's token limit holds, and a
bound on the size of a user's state."""

IS_ITEM_EVIDENCE: NDArray[np.bool_] = np.array(
    [kind in SUPPORT_TYPES and kind is not EventType.SEARCH for kind in EventType]
)
"""Whether an event of the type is evidence of liking its item, by row of `EVENT_TYPE_INDEX`."""

NO_GAP = -1.0
"""In place of seconds, where there was no event before."""


class ItemRows(Protocol):
    """Where items stand in the catalogue."""

    def row(self, item_id: str | None) -> int:
        """Return the row of an item, `NO_ITEM` if the catalogue does not hold it."""
        ...

    def rows(self, item_ids: Sequence[str | None]) -> list[int]:
        """Return the row of each item."""
        ...


def evidence_row(kind: EventType, item_id: str | None, items: ItemRows) -> int:
    """Return the row of the item that the event is evidence of liking, else `NO_ITEM`."""
    return NO_ITEM if kind not in SUPPORT_TYPES or kind is EventType.SEARCH else items.row(item_id)


def search_text(kind: EventType, query: str | None) -> str | None:
    """Return the text that the event searches for; None if it is no search or a blank one."""
    if kind is not EventType.SEARCH or query is None:
        return None
    return query[:QUERY_CHARACTERS].strip() or None


def learns(rows: NDArray[np.int64], searches: Iterable[int]) -> NDArray[np.bool_]:
    """Return which events, (n,), the model learns from.

    Args:
        rows: what `evidence_row` says of each, (n,).
        searches: positions of the events with a `search_text`.
    """
    learning: NDArray[np.bool_] = rows != NO_ITEM
    learning[list(searches)] = True
    return learning


def gap_seconds(time: int, last_time: int) -> float:
    """Return the seconds since the last event, 0 if time ran backwards, `NO_GAP` if it is first."""
    return NO_GAP if last_time == NEVER else max(0, time - last_time) / 1000.0
