"""Fold: events into what is known of their users, and what the model has to do for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.clickstream import EVENT_TYPE_INDEX, SUPPORT_TYPES, EventType
from schemas.user_state import event_key
from worker.metrics import NoStep, Outcome
from worker.rows import NO_ITEM
from worker.stages.decode import EventColumns
from worker.state.arena import NEVER, ResidentUser, UserArena
from worker.state.evidence import (
    QUERY_CHARACTERS,
    ItemRows,
    evidence_row,
    learns,
    search_text,
)
from worker.state.users import Users

NONE_BEFORE = -1
NO_GAP = -1.0


@dataclass(frozen=True)
class FoldedBatch:
    """The events applied, n of them; a column holds one entry an event, in order."""

    source: NDArray[np.int64]
    """Position in the `EventColumns`."""
    users: list[ResidentUser]
    slots: NDArray[np.int64]
    types: NDArray[np.int64]
    """Rows of `EVENT_TYPE_INDEX`."""
    gaps: NDArray[np.float32]
    """Seconds since the last event that the model learned from; −1 if there was none."""
    rows: NDArray[np.int64]
    """Catalogue row of the item liked, or `NO_ITEM`."""
    searches: dict[int, str]
    """Position → text searched for."""
    rounds: NDArray[np.int64]
    """How many events of the same user come before in this batch."""
    previous: NDArray[np.int64]
    """Position of the one before, or `NONE_BEFORE`."""
    events_seen: NDArray[np.int64]
    """The user's events up to this one, this one included."""
    recent_rows: NDArray[np.int64]
    """Catalogue rows of the user's recent items, newest first, this one included, (n, r); filled up
    with `NO_ITEM`."""
    anew: NDArray[np.bool_]
    """Whether the user was forgotten right before the event, idle for too long till then, (n,)."""
    unpublished: dict[int, list[int]]
    """Slot → recent rows before the batch, of users with events whose last list is not known."""
    outcomes: Counter[Outcome]
    without_step: Counter[NoStep]

    def __len__(self) -> int:
        return len(self.users)

    @property
    def learns(self) -> NDArray[np.bool_]:
        """Whether the event is one to adapt on, (n,)."""
        return learns(self.rows, self.searches)

    def last_of_user(self) -> NDArray[np.int64]:
        """Return the position of the last event of each user, in order."""
        last = np.ones(len(self), np.bool_)
        last[self.previous[self.previous != NONE_BEFORE]] = False
        return np.flatnonzero(last)


def fold(events: EventColumns, users: Users, items: ItemRows) -> FoldedBatch:
    """Apply events to their users' records, in order; copies and those applied before are left out.

    The arrays of the users are not touched: that is the stage `adapt`. Users who are not resident
    are brought in.

    Raises:
        StateStoreError: stored users cannot be read, or others not be stored.
    """
    users.bring_in(dict(zip(events.user_ids, events.partitions, strict=True)))
    users.saw(events.partitions, events.times)
    folding = _Folding(users.arena, items, users.ttl_ms)
    for position in range(len(events)):
        folding.add(events, position)
    return folding.batch()


def gap_seconds(time: int, last_time: int) -> float:
    """Return the seconds since the last event, 0 if time ran backwards, `NO_GAP` if it is first."""
    return NO_GAP if last_time == NEVER else max(0, time - last_time) / 1000.0


def pad_rows(lists: Sequence[list[int]], width: int) -> NDArray[np.int64]:
    """Return lists of rows, none longer than `width`, as an array filled up with `NO_ITEM`."""
    rows = np.full((len(lists), width), NO_ITEM, np.int64)
    for i, values in enumerate(lists):
        rows[i, : len(values)] = values
    return rows


class _Folding:
    """Collects the columns of a `FoldedBatch`."""

    def __init__(self, arena: UserArena, items: ItemRows, ttl_ms: int | None) -> None:
        self._arena = arena
        self._items = items
        self._ttl_ms = ttl_ms
        self._anew: list[int] = []
        self._latest: dict[int, int] = {}  # slot → position of the user's latest event here
        self._source: list[int] = []
        self._users: list[ResidentUser] = []
        self._types: list[int] = []
        self._gaps: list[float] = []
        self._rows: list[int] = []
        self._searches: dict[int, str] = {}
        self._rounds: list[int] = []
        self._previous: list[int] = []
        self._events_seen: list[int] = []
        self._recent: list[list[int]] = []
        self._unpublished: dict[int, list[int]] = {}
        self._outcomes: Counter[Outcome] = Counter()
        self._without_step: Counter[NoStep] = Counter()

    def add(self, events: EventColumns, i: int) -> None:
        user = self._arena.get(events.user_ids[i])
        assert user is not None  # admitted before
        partition, offset = events.partitions[i], events.offsets[i]
        if partition == user.partition and offset <= user.offset:
            self._outcomes[Outcome.ALREADY_APPLIED] += 1
            return
        if self._ttl_ms is not None and user.idle_ms(events.times[i]) > self._ttl_ms:
            user.forget()
            self._anew.append(len(self._users))
        key = event_key(events.event_ids[i])
        if key in user.recent:
            self._outcomes[Outcome.DUPLICATE] += 1
            return
        self._outcomes[Outcome.APPLIED] += 1
        if user.events_seen and not self._arena.published_known[user.slot]:
            self._unpublished.setdefault(user.slot, user.recent.known_rows())
        user.partition, user.offset = partition, offset
        user.events_seen += 1
        self._apply(user, events, i, key)

    def _apply(self, user: ResidentUser, events: EventColumns, i: int, key: int) -> None:
        kind, item_id, query, time = (
            events.types[i],
            events.item_ids[i],
            events.queries[i],
            events.times[i],
        )
        position = len(self._users)
        row = evidence_row(kind, item_id, self._items)
        text = search_text(kind, query)
        self._gaps.append(gap_seconds(time, user.last_time))
        if row != NO_ITEM or text is not None:
            user.last_time = max(user.last_time, time)
        else:
            tells_nothing = kind not in SUPPORT_TYPES or kind is EventType.SEARCH
            self._without_step[NoStep.NO_EVIDENCE if tells_nothing else NoStep.UNKNOWN_ITEM] += 1
        if text is not None:
            self._searches[position] = text
        kept_query = None if query is None else query[:QUERY_CHARACTERS]
        place = EVENT_TYPE_INDEX[kind]
        user.active = max(user.active, time)
        user.recent.add(key, place, time, item_id=item_id, query=kept_query, row=row)
        user.recent.trim(self._arena.recent_events)
        before = self._latest.get(user.slot, NONE_BEFORE)
        self._latest[user.slot] = position
        self._rounds.append(0 if before == NONE_BEFORE else self._rounds[before] + 1)
        self._previous.append(before)
        self._source.append(i)
        self._users.append(user)
        self._types.append(place)
        self._rows.append(row)
        self._events_seen.append(user.events_seen)
        self._recent.append(user.recent.known_rows())

    def batch(self) -> FoldedBatch:
        anew = np.zeros(len(self._users), np.bool_)
        anew[self._anew] = True
        return FoldedBatch(
            source=np.array(self._source, np.int64),
            users=self._users,
            slots=np.array([user.slot for user in self._users], np.int64),
            types=np.array(self._types, np.int64),
            gaps=np.array(self._gaps, np.float32),
            rows=np.array(self._rows, np.int64),
            searches=self._searches,
            rounds=np.array(self._rounds, np.int64),
            previous=np.array(self._previous, np.int64),
            events_seen=np.array(self._events_seen, np.int64),
            recent_rows=pad_rows(self._recent, self._arena.recent_events),
            anew=anew,
            unpublished=self._unpublished,
            outcomes=self._outcomes,
            without_step=self._without_step,
        )
