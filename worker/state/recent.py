"""A user's latest events, in columns: they are written with every change of the user."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence

from schemas.clickstream import SUPPORT_TYPES, EventType
from schemas.user_state import RecentEvents, recent_events
from worker.rows import NO_ITEM
from worker.state.evidence import ItemRows, search_text

EVENT_TYPES: Sequence[EventType] = tuple(EventType)
"""By place, as `schemas.clickstream.EVENT_TYPE_INDEX` has it."""

_SEARCH = EVENT_TYPES.index(EventType.SEARCH)
_ITEM_EVIDENCE = tuple(
    kind in SUPPORT_TYPES and kind is not EventType.SEARCH for kind in EVENT_TYPES
)
"""Whether an event of the type is evidence of liking its item, by place."""


class LatestEvents:
    """The latest events of a user, oldest first.

    Arrays and no lists where that is possible: the garbage collector does not visit them, and
    there are millions.
    """

    __slots__ = ("items", "keys", "queries", "rows", "times", "types")

    def __init__(self) -> None:
        self.keys = array("Q")
        """`schemas.user_state.event_key` of each."""
        self.types = bytearray()
        """Place of each type in `EVENT_TYPES`."""
        self.times = array("q")
        """Milliseconds since the epoch."""
        self.items: list[str | None] = []
        self.queries: dict[int, str] | None = None
        """Search queries by event key; None if there are none."""
        self.rows = array("i")
        """Catalogue rows of the items that the events are evidence for, else `NO_ITEM`."""

    def __len__(self) -> int:
        return len(self.keys)

    def __contains__(self, key: int) -> bool:
        return key in self.keys

    def __iter__(self) -> Iterator[tuple[EventType, int, str | None, str | None]]:
        """Yield type, time, item and query of each event."""
        for key, place, time, item in zip(
            self.keys, self.types, self.times, self.items, strict=True
        ):
            yield EVENT_TYPES[place], time, item, self._query(key)

    def add(
        self, key: int, kind: int, time: int, *, item_id: str | None, query: str | None, row: int
    ) -> None:
        """Add an event.

        Args:
            key: not among the others.
            kind: place of its type.
            time: milliseconds since the epoch.
            item_id: of its item.
            query: of a search.
            row: of the item that it is evidence for, or `NO_ITEM`.
        """
        self.keys.append(key)
        self.types.append(kind)
        self.times.append(time)
        self.items.append(item_id)
        self.rows.append(row)
        if query is not None:
            self.queries = self.queries or {}
            self.queries[key] = query

    def trim(self, most: int) -> None:
        """Drop old events until there are at most so many.

        Of a full set at most half are events that are no evidence: a page full of impressions must
        not push out what the user's state was learned from.
        """
        while len(self.keys) > most:
            idle = self._idle()
            place = idle[0] if 2 * len(idle) > most else 0
            if self.queries:
                self.queries.pop(self.keys[place], None)
            for column in (self.keys, self.types, self.times, self.items, self.rows):
                del column[place]

    def known_rows(self) -> list[int]:
        """Return the catalogue rows of the items, newest first."""
        return [row for row in reversed(self.rows) if row != NO_ITEM]

    def to_record(self, active: int) -> RecentEvents:
        """Return the events as they are stored.

        Args:
            active: the user's latest time, milliseconds since the epoch.
        """
        queries: dict[int, str] = {}
        if self.queries:
            queries = {
                i: self.queries[key] for i, key in enumerate(self.keys) if key in self.queries
            }
        return recent_events(
            keys=self.keys,
            types=self.types,
            times=self.times,
            items=self.items,
            queries=queries,
            active=active,
        )

    def fill(self, stored: RecentEvents, active: int, items: ItemRows) -> None:
        """Take over the events of a record, with the rows that their items have now.

        Args:
            stored: the events.
            active: of the state that holds them.
            items: say which rows.
        """
        self.keys = array("Q", stored.event_keys())
        self.types = bytearray(stored.types)
        self.times = array("q", stored.times(active))
        self.items = stored.items
        self.queries = {self.keys[i]: text for i, text in stored.queries.items()} or None
        row = items.row
        self.rows = array(
            "i",
            [
                row(item_id) if _ITEM_EVIDENCE[kind] else NO_ITEM
                for kind, item_id in zip(stored.types, stored.items, strict=True)
            ],
        )

    def _idle(self) -> list[int]:
        """Return the places of the events that are no evidence of anything, oldest first."""
        return [
            place
            for place, (key, kind) in enumerate(zip(self.keys, self.types, strict=True))
            if not _ITEM_EVIDENCE[kind]
            and not (kind == _SEARCH and search_text(EventType.SEARCH, self._query(key)))
        ]

    def _query(self, key: int) -> str | None:
        return self.queries.get(key) if self.queries else None
