"""Applying events to users' columns, compiled: what `worker.stages.fold` does for each event."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.rows import NO_ITEM
from worker.state.evidence import NO_GAP
from worker.state.user_columns import NEVER, NO_OFFSET, UserColumns

F32 = np.float32

APPLIED, ALREADY_APPLIED, DUPLICATE = 0, 1, 2
"""What became of an event; see `worker.metrics.Outcome`."""

NONE_BEFORE = -1
FOR_EVER = -1
"""In place of milliseconds, where users are not forgotten."""

_NO_OFFSET, _NEVER, _NO_ITEM = NO_OFFSET, NEVER, NO_ITEM


class Arrived(NamedTuple):
    """n events in the order of their records."""

    slots: NDArray[np.int64]
    partitions: NDArray[np.int64]
    offsets: NDArray[np.int64]
    keys: NDArray[np.uint64]
    """`schemas.user_state.event_key` of each."""
    types: NDArray[np.uint8]
    times: NDArray[np.int64]
    items: NDArray[np.int32]
    """As `UserColumns.items` has them."""
    rows: NDArray[np.int32]
    """As `UserColumns.rows` has them."""
    idle: NDArray[np.bool_]
    """As `UserColumns.idle` has them."""
    searches: NDArray[np.bool_]
    """Whether there is a text searched for."""


class Folded(NamedTuple):
    """Where the outcome goes: `outcomes` by event, all others by event applied, in order."""

    outcomes: NDArray[np.uint8]
    source: NDArray[np.int64]
    gaps: NDArray[np.float32]
    rounds: NDArray[np.int64]
    previous: NDArray[np.int64]
    events_seen: NDArray[np.int64]
    anew: NDArray[np.bool_]
    recent_rows: NDArray[np.int64]
    """(n, r), filled with `NO_ITEM`."""
    recent_types: NDArray[np.uint8]
    """(n, r), or without rows if they are not wanted."""


def room_for(n: int, recent_events: int, *, types: bool = False) -> Folded:
    """Return where the outcome of n events goes.

    Args:
        n: how many.
        recent_events: kept of a user.
        types: whether those of recent events are wanted.
    """
    return Folded(
        outcomes=np.empty(n, np.uint8),
        source=np.empty(n, np.int64),
        gaps=np.empty(n, np.float32),
        rounds=np.empty(n, np.int64),
        previous=np.empty(n, np.int64),
        events_seen=np.empty(n, np.int64),
        anew=np.zeros(n, np.bool_),
        recent_rows=np.full((n, recent_events), NO_ITEM, np.int64),
        recent_types=np.zeros((n if types else 0, recent_events), np.uint8),
    )


@njit(cache=True)
def _is_known(columns: UserColumns, slot: int, key: int) -> bool:
    keys, found = columns.keys, False
    for place in range(columns.kept[slot]):
        found |= keys[slot, place] == key
    return found


@njit(cache=True)
def _make_room(columns: UserColumns, slot: int, idle: bool) -> bool:
    """Drop one of the latest events where they are full; return whether a new one is to be kept.

    Of a full set, the new one included, at most half are events that are no evidence: a page full
    of impressions must not push out what the user's state was learned from.
    """
    most = columns.keys.shape[1]
    if columns.kept[slot] < most:
        return True
    idle_ones = int(idle)
    first_idle = most
    for place in range(most - 1, -1, -1):
        if columns.idle[slot, place]:
            idle_ones += 1
            first_idle = place
    dropped = first_idle if 2 * idle_ones > most else 0
    if dropped == most:
        return False
    for place in range(dropped, most - 1):
        columns.keys[slot, place] = columns.keys[slot, place + 1]
        columns.types[slot, place] = columns.types[slot, place + 1]
        columns.times[slot, place] = columns.times[slot, place + 1]
        columns.items[slot, place] = columns.items[slot, place + 1]
        columns.rows[slot, place] = columns.rows[slot, place + 1]
        columns.idle[slot, place] = columns.idle[slot, place + 1]
    columns.kept[slot] = most - 1
    return True


@njit(cache=True)
def _keep(columns: UserColumns, slot: int, events: Arrived, i: int) -> None:
    """Add an event to its user's latest ones."""
    if not _make_room(columns, slot, events.idle[i]):
        return
    place = columns.kept[slot]
    columns.keys[slot, place] = events.keys[i]
    columns.types[slot, place] = events.types[i]
    columns.times[slot, place] = events.times[i]
    columns.items[slot, place] = events.items[i]
    columns.rows[slot, place] = events.rows[i]
    columns.idle[slot, place] = events.idle[i]
    columns.kept[slot] = place + 1


@njit(cache=True)
def _step(columns: UserColumns, slot: int, events: Arrived, i: int) -> float:
    """Take note of an event that is applied; return the seconds since the one before."""
    time, last = events.times[i], columns.last_time[slot]
    gap = NO_GAP if last == _NEVER else max(0, time - last) / 1000.0
    if events.rows[i] != _NO_ITEM or events.searches[i]:
        columns.last_time[slot] = max(last, time)
    columns.active[slot] = max(columns.active[slot], time)
    columns.partition[slot] = events.partitions[i]
    columns.offset[slot] = events.offsets[i]
    columns.events_seen[slot] += 1
    return gap


@njit(cache=True)
def fold_events(
    columns: UserColumns, events: Arrived, ttl_ms: int, latest: NDArray[np.int64], out: Folded
) -> int:
    """Apply events to their users, in order; return how many were.

    Args:
        columns: of the users.
        events: n of them.
        ttl_ms: how long a user may be idle, or `FOR_EVER`.
        latest: −1 by slot; is so again afterwards.
        out: the outcome.
    """
    n = 0
    for i in range(len(events.slots)):
        slot = events.slots[i]
        here = events.partitions[i] == columns.partition[slot]
        if here and events.offsets[i] <= columns.offset[slot]:
            out.outcomes[i] = ALREADY_APPLIED
            continue
        idle_ms = events.times[i] - columns.active[slot]
        if ttl_ms != FOR_EVER and columns.events_seen[slot] > 0 and idle_ms > ttl_ms:
            columns.events_seen[slot] = 0
            columns.last_time[slot] = _NEVER
            columns.active[slot] = _NEVER
            columns.kept[slot] = 0
            out.anew[n] = True
        if _is_known(columns, slot, events.keys[i]):
            out.outcomes[i] = DUPLICATE
            continue
        out.outcomes[i] = APPLIED
        out.source[n] = i
        out.gaps[n] = F32(_step(columns, slot, events, i))
        _keep(columns, slot, events, i)
        before = latest[slot]
        out.previous[n] = before
        out.rounds[n] = 0 if before == NONE_BEFORE else out.rounds[before] + 1
        latest[slot] = n
        out.events_seen[n] = columns.events_seen[slot]
        recent_rows(columns, slot, out.recent_rows[n])
        if len(out.recent_types):
            recent_types(columns, slot, out.recent_types[n])
        n += 1
    for i in range(len(events.slots)):
        latest[events.slots[i]] = NONE_BEFORE
    return n


@njit(cache=True)
def recent_rows(columns: UserColumns, slot: int, out: NDArray[np.int64]) -> None:
    """Write the catalogue rows of a user's recent items, newest first, from the start of `out`."""
    known = 0
    rows = columns.rows
    for place in range(columns.kept[slot] - 1, -1, -1):
        row = rows[slot, place]
        if row != _NO_ITEM:
            out[known] = row
            known += 1


@njit(cache=True)
def recent_types(columns: UserColumns, slot: int, out: NDArray[np.uint8]) -> None:
    """Write the types of the events that `recent_rows` goes by, in the same places."""
    known = 0
    rows, types = columns.rows, columns.types
    for place in range(columns.kept[slot] - 1, -1, -1):
        if rows[slot, place] != _NO_ITEM:
            out[known] = types[slot, place]
            known += 1


@njit(cache=True)
def recent_types_of(columns: UserColumns, slots: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
    """Write `recent_types` of many users, (n, r)."""
    for i in range(len(slots)):
        recent_types(columns, slots[i], out[i])


@njit(cache=True)
def recent_rows_of(columns: UserColumns, slots: NDArray[np.int64], out: NDArray[np.int64]) -> None:
    """Write `recent_rows` of many users, (n, r) filled with `NO_ITEM`."""
    for i in range(len(slots)):
        recent_rows(columns, slots[i], out[i])
