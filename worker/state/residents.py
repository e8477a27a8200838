"""One user of the arena, for code that is not in a hurry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from schemas.clickstream import EventType
from schemas.user_state import RecentEvents, UserState, recent_events
from worker.rows import NO_ITEM
from worker.state.user_columns import KEPT_AS_TEXT, UserColumns

EVENT_TYPES = tuple(EventType)
"""By place, as `schemas.clickstream.EVENT_TYPE_INDEX` has it."""


@dataclass(frozen=True)
class Texts:
    """What of a user's latest events does not fit into columns, by event key.

    Entries of events that are no longer among the latest may be there, too.
    """

    items: dict[int, str] = field(default_factory=dict)
    """Ids of items that the catalogue did not hold when the event came."""
    queries: dict[int, str] = field(default_factory=dict)
    """Search queries."""


class Slots(Protocol):
    """Where users are: `worker.state.arena.UserArena`."""

    @property
    def columns(self) -> UserColumns:
        """What is known of them."""

    def user_id(self, slot: int) -> str:
        """Return whose slot it is."""

    def item_id(self, row: int) -> str | None:
        """Return the id of the item of a row; None where there is none."""

    def texts(self, slot: int) -> Texts:
        """Return what of the user is not in columns."""


@dataclass(frozen=True)
class LatestEvents:
    """The latest events of a user, oldest first, as they are now; a column a field."""

    keys: list[int]
    """`schemas.user_state.event_key` of each."""
    types: bytes
    """Place of each type in `EVENT_TYPES`."""
    times: list[int]
    """Milliseconds since the epoch."""
    items: list[str | None]
    queries: dict[int, str]
    """Search queries by place."""
    rows: list[int]
    """Catalogue rows of the items that the events are evidence for, else `NO_ITEM`."""

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[tuple[EventType, int, str | None, str | None]]:
        """Yield type, time, item and query of each event."""
        for place, (kind, time, item) in enumerate(
            zip(self.types, self.times, self.items, strict=True)
        ):
            yield EVENT_TYPES[kind], time, item, self.queries.get(place)

    def known_rows(self) -> list[int]:
        """Return the catalogue rows of the items, newest first."""
        return [row for row in reversed(self.rows) if row != NO_ITEM]

    def to_record(self, active: int) -> RecentEvents:
        """Return the events as they are stored.

        Args:
            active: the user's latest time, milliseconds since the epoch.
        """
        return recent_events(
            keys=self.keys,
            types=self.types,
            times=self.times,
            items=self.items,
            queries=self.queries,
            active=active,
        )


@dataclass(frozen=True, eq=False)
class ResidentUser:
    """What the worker knows of a user besides the model's arrays, read from the arena's columns."""

    slots: Slots
    slot: int

    @property
    def user_id(self) -> str:
        """The user's id."""
        return self.slots.user_id(self.slot)

    @property
    def partition(self) -> int:
        """Partition of `clickstream` with the user's events."""
        return int(self.slots.columns.partition[self.slot])

    @property
    def offset(self) -> int:
        """Of the last record applied."""
        return int(self.slots.columns.offset[self.slot])

    @property
    def events_seen(self) -> int:
        """Events applied."""
        return int(self.slots.columns.events_seen[self.slot])

    @property
    def last_time(self) -> int:
        """Latest time of an event that the model learned from, milliseconds since the epoch."""
        return int(self.slots.columns.last_time[self.slot])

    @property
    def active(self) -> int:
        """Latest time of any event, milliseconds since the epoch."""
        return int(self.slots.columns.active[self.slot])

    @property
    def recent(self) -> LatestEvents:
        """The latest events."""
        columns, slot = self.slots.columns, self.slot
        part = slice(0, int(columns.kept[slot]))
        keys = columns.keys[slot, part].tolist()
        texts = self.slots.texts(slot)
        return LatestEvents(
            keys=keys,
            types=columns.types[slot, part].tobytes(),
            times=columns.times[slot, part].tolist(),
            items=[
                texts.items.get(key) if row == KEPT_AS_TEXT else self.slots.item_id(row)
                for row, key in zip(columns.items[slot, part].tolist(), keys, strict=True)
            ],
            queries={
                place: texts.queries[key] for place, key in enumerate(keys) if key in texts.queries
            },
            rows=columns.rows[slot, part].tolist(),
        )

    def to_state(self, version: int, model_version: str, arrays: bytes) -> UserState:
        """Return the user as a message of `user-state`."""
        return UserState(
            version=version,
            user_id=self.user_id,
            partition=self.partition,
            offset=self.offset,
            events_seen=self.events_seen,
            last_time=self.last_time,
            active=self.active,
            model_version=model_version,
            arrays=arrays,
            recent=self.recent.to_record(self.active),
        )
