"""Fold: events into what is known of their users, and what the model has to do for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.clickstream import EVENT_TYPE_INDEX, EventType
from worker.byte_table import packed
from worker.event_keys import event_keys
from worker.metrics import NoStep, Outcome
from worker.rows import NO_ITEM
from worker.stages.decode import EventColumns
from worker.stages.fold_kernel import (
    APPLIED,
    FOR_EVER,
    NONE_BEFORE,
    Arrived,
    Folded,
    fold_events,
    recent_rows_of,
    recent_types_of,
    room_for,
)
from worker.state.arena import UserArena
from worker.state.evidence import IS_ITEM_EVIDENCE, QUERY_CHARACTERS, ItemRows, learns, search_text
from worker.state.user_columns import KEPT_AS_TEXT
from worker.state.users import Users

_SEARCH = EVENT_TYPE_INDEX[EventType.SEARCH]
_OUTCOMES = (Outcome.APPLIED, Outcome.ALREADY_APPLIED, Outcome.DUPLICATE)
"""By what the compiled code says."""


@dataclass(frozen=True)
class FoldedBatch:
    """The events applied, n of them; a column holds one entry an event, in order."""

    source: NDArray[np.int64]
    """Position in the `EventColumns`."""
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
    recent_types: NDArray[np.uint8]
    """What the user did with each of these items, rows of `EVENT_TYPE_INDEX`, (n, r); void where
    there is none, and without rows if they were not asked for."""
    anew: NDArray[np.bool_]
    """Whether the user was forgotten right before the event, idle for too long till then, (n,)."""
    unpublished: Unpublished
    others: NDArray[np.int64]
    """Slots of the further users asked for, in order."""
    outcomes: Counter[Outcome]
    without_step: Counter[NoStep]

    def __len__(self) -> int:
        return len(self.slots)

    @property
    def learns(self) -> NDArray[np.bool_]:
        """Whether the event is one to adapt on, (n,)."""
        return learns(self.rows, self.searches)

    def last_of_user(self) -> NDArray[np.int64]:
        """Return the position of the last event of each user, in order."""
        last = np.ones(len(self), np.bool_)
        last[self.previous[self.previous != NONE_BEFORE]] = False
        return np.flatnonzero(last)


@dataclass(frozen=True)
class Unpublished:
    """Users with events before the batch whose last list is not known, as they were before it."""

    slots: NDArray[np.int64]
    """(u,)."""
    recent_rows: NDArray[np.int64]
    """(u, r); see `FoldedBatch`."""
    recent_types: NDArray[np.uint8]
    """(u, r), or without rows; see `FoldedBatch`."""


def fold(
    events: EventColumns,
    users: Users,
    items: ItemRows,
    *,
    types: bool = False,
    others: tuple[Sequence[str], Sequence[int]] = ((), ()),
) -> FoldedBatch:
    """Apply events to their users' columns, in order; copies and those applied before are left out.

    The arrays of the users are not touched: that is the stage `adapt`. Users who are not resident
    are brought in.

    Args:
        events: decoded.
        users: those there are.
        items: where they stand.
        types: whether `recent_types` is wanted.
        others: further users that are to be resident meanwhile, and their partitions.

    Raises:
        StateStoreError: stored users cannot be read, or others not be stored.
    """
    also, theirs = others
    slots = users.bring_in([*events.user_ids, *also], [*events.partitions, *theirs])
    slots, of_others = slots[: len(events)], slots[len(events) :]
    users.saw(events.partitions, events.times)
    arena = users.arena
    texts = _search_texts(events)
    arrived = _arrived(events, slots, texts, items)
    unpublished = _unpublished(arena, slots, types=types)
    out = room_for(len(events), arena.recent_events, types=types)
    ttl_ms = FOR_EVER if users.ttl_ms is None else users.ttl_ms
    n = fold_events(arena.columns, arrived, ttl_ms, arena.scratch, out)
    _keep_texts(arena, events, arrived, out)
    return _batch(arrived, out, n, texts, unpublished, others=of_others)


def _arrived(
    events: EventColumns, slots: NDArray[np.int64], texts: dict[int, str], items: ItemRows
) -> Arrived:
    n = len(events)
    types = np.fromiter((EVENT_TYPE_INDEX[kind] for kind in events.types), np.uint8, n)
    found = np.array(items.rows(events.item_ids), np.int32)
    as_text = found == NO_ITEM
    if as_text.any():
        named = [i for i in np.flatnonzero(as_text).tolist() if events.item_ids[i] is not None]
        found[named] = KEPT_AS_TEXT
    evidence = IS_ITEM_EVIDENCE[types]
    searches = np.zeros(n, np.bool_)
    searches[list(texts)] = True
    return Arrived(
        slots=slots,
        partitions=np.array(events.partitions, np.int64),
        offsets=np.array(events.offsets, np.int64),
        keys=event_keys(packed([event_id.encode() for event_id in events.event_ids])),
        types=types,
        times=np.array(events.times, np.int64),
        items=found,
        rows=np.where(evidence & ~as_text, found, np.int32(NO_ITEM)),
        idle=~(evidence | searches),
        searches=searches,
    )


def _search_texts(events: EventColumns) -> dict[int, str]:
    """Return the texts searched for by the position of the event."""
    texts = {}
    for i, query in enumerate(events.queries):
        if query is not None and (text := search_text(events.types[i], query)) is not None:
            texts[i] = text
    return texts


def _unpublished(arena: UserArena, slots: NDArray[np.int64], *, types: bool) -> Unpublished:
    here = np.unique(slots)
    known = arena.columns.events_seen[here] > 0
    wanted = here[known & ~arena.published_known[here]]
    rows = np.full((len(wanted), arena.recent_events), NO_ITEM, np.int64)
    recent_rows_of(arena.columns, wanted, rows)
    done = np.zeros((len(wanted) if types else 0, arena.recent_events), np.uint8)
    if types:
        recent_types_of(arena.columns, wanted, done)
    return Unpublished(wanted, rows, done)


def _keep_texts(arena: UserArena, events: EventColumns, arrived: Arrived, out: Folded) -> None:
    """Keep queries, and the ids of items that the catalogue does not hold."""
    applied = out.outcomes == APPLIED
    for i in np.flatnonzero((arrived.items == KEPT_AS_TEXT) & applied).tolist():
        item_id = events.item_ids[i]
        assert item_id is not None
        arena.add_texts(int(arrived.slots[i])).items[int(arrived.keys[i])] = item_id
    for i, query in enumerate(events.queries):
        if query is not None and applied[i]:
            kept = arena.add_texts(int(arrived.slots[i])).queries
            kept[int(arrived.keys[i])] = query[:QUERY_CHARACTERS]


def _batch(
    arrived: Arrived,
    out: Folded,
    n: int,
    texts: dict[int, str],
    unpublished: Unpublished,
    *,
    others: NDArray[np.int64],
) -> FoldedBatch:
    source = out.source[:n]
    position = {int(i): p for p, i in enumerate(source)} if texts else {}
    rows, idle = arrived.rows[source], arrived.idle[source]
    counts = np.bincount(out.outcomes, minlength=len(_OUTCOMES))
    nothing = int(idle.sum())
    unknown = int(((rows == NO_ITEM) & ~idle & ~arrived.searches[source]).sum())
    return FoldedBatch(
        source=source,
        slots=arrived.slots[source],
        types=arrived.types[source].astype(np.int64),
        gaps=out.gaps[:n],
        rows=rows.astype(np.int64),
        searches={position[i]: text for i, text in texts.items() if i in position},
        rounds=out.rounds[:n],
        previous=out.previous[:n],
        events_seen=out.events_seen[:n],
        recent_rows=out.recent_rows[:n],
        recent_types=out.recent_types[:n],
        anew=out.anew[:n],
        unpublished=unpublished,
        others=others,
        outcomes=+Counter(dict(zip(_OUTCOMES, counts.tolist(), strict=True))),
        without_step=+Counter({NoStep.NO_EVIDENCE: nothing, NoStep.UNKNOWN_ITEM: unknown}),
    )
