"""A user's latest events, in columns: they are written with every change of the user."""

from __future__ import annotations

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
    """The latest events of a user, oldest first."""

    __slots__ = ("idle", "items", "keys", "queries", "rows", "times", "types")

    def __init__(self) -> None:
        self.keys: list[int] = []
        """`schemas.user_state.event_key` of each."""
        self.types: list[int] = []
        """Place of each type in `EVENT_TYPES`."""
        self.times: list[int] = []
        """Milliseconds since the epoch."""
        self.items: list[str | None] = []
        self.queries: dict[int, str] = {}
        """Search queries by event key."""
        self.rows: list[int] = []
        """Catalogue rows of the items that the events are evidence for, else `NO_ITEM`."""
        self.idle: list[bool] = []
        """Whether the event is no evidence of anything."""

    def __len__(self) -> int:
        return len(self.keys)

    def __contains__(self, key: int) -> bool:
        return key in self.keys

    def __iter__(self) -> Iterator[tuple[EventType, int, str | None, str | None]]:
        """Yield type, time, item and query of each event."""
        for key, place, time, item in zip(
            self.keys, self.types, self.times, self.items, strict=True
        ):
            yield EVENT_TYPES[place], time, item, self.queries.get(key)

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
        self.idle.append(_is_idle(kind, query))
        if query is not None:
            self.queries[key] = query

    def trim(self, most: int) -> None:
        """Drop old events until there are at most so many.

        Of a full set at most half are events that are no evidence: a page full of impressions must
        not push out what the user's state was learned from.
        """
        while len(self.keys) > most:
            crowded = 2 * sum(self.idle) > most
            place = self.idle.index(True) if crowded else 0
            self.queries.pop(self.keys[place], None)
            for column in (self.keys, self.types, self.times, self.items, self.rows, self.idle):
                del column[place]

    def known_rows(self) -> list[int]:
        """Return the catalogue rows of the items, newest first."""
        return [row for row in reversed(self.rows) if row != NO_ITEM]

    def to_record(self, active: int) -> RecentEvents:
        """Return the events as they are stored.

        Args:
            active: the user's latest time, milliseconds since the epoch.
        """
        queries = self.queries and {
            place: self.queries[key] for place, key in enumerate(self.keys) if key in self.queries
        }
        return recent_events(
            keys=self.keys,
            types=self.types,
            times=self.times,
            items=self.items,
            queries=queries,
            active=active,
        )

    @classmethod
    def from_record(cls, stored: RecentEvents, active: int, items: ItemRows) -> LatestEvents:
        """Return the events of a record, with the rows that their items have now."""
        events = cls()
        events.keys = list(stored.event_keys())
        events.types = list(stored.types)
        events.times = stored.times(active)
        events.items = stored.items
        events.queries = {events.keys[place]: text for place, text in stored.queries.items()}
        events.rows = [
            items.row(item_id) if _ITEM_EVIDENCE[kind] else NO_ITEM
            for kind, item_id in zip(events.types, events.items, strict=True)
        ]
        events.idle = [not _ITEM_EVIDENCE[kind] for kind in events.types]
        if stored.queries:
            for place, query in stored.queries.items():
                events.idle[place] = _is_idle(events.types[place], query)
        return events


def _is_idle(kind: int, query: str | None) -> bool:
    if kind == _SEARCH:
        return search_text(EventType.SEARCH, query) is None
    return not _ITEM_EVIDENCE[kind]
