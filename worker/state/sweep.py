"""Forgetting users who have been idle for too long, a few of all users at a time.

The rule itself is kept where events are applied (`worker.stages.fold`): a user whose event comes
longer after the latest one than the TTL starts anew. So what becomes of a user depends on the
user's events alone, and the sweep is what frees the room of those who do not come back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.codec import decode_state
from schemas.errors import DecodeError
from worker.state.arena import UserArena
from worker.state.entry import from_entry
from worker.state.store import StateStore
from worker.state.user_columns import NO_OFFSET, NO_PARTITION

_SLACK_MS = 24 * 3600 * 1000
"""Events that come late by less find their users, and so do they where one event's time is ahead by
less: the default of `worker.max_future_seconds`."""
_SLOTS_AT_ONCE = 4096
_NO_END = np.iinfo(np.int64).max


class IdleSweep:
    """Finds users to forget and takes them out of the arena and the store.

    The clock is the latest event time seen in the user's partition: where nothing happens, nobody
    is forgotten.

    Args:
        arena: the resident users.
        store: the others.
        ttl_ms: how long a user may be idle.
    """

    def __init__(self, arena: UserArena, store: StateStore, ttl_ms: int) -> None:
        self._arena = arena
        self._store = store
        self._longest_ms = ttl_ms + _SLACK_MS
        self._now: dict[int, int] = {}
        self._next_slot = 0
        self._turn = 0

    def saw(self, partitions: Sequence[int], times: Sequence[int]) -> None:
        """Take note of events' times."""
        at, of = np.array(times, np.int64), np.array(partitions, np.int64)
        for partition in np.unique(of).tolist():
            latest = int(at[of == partition].max())
            self._now[partition] = max(latest, self._now.get(partition, 0))

    def drop(self, partition: int) -> None:
        """Forget a partition's clock: it is someone else's."""
        self._now.pop(partition, None)

    def step(self, most: int, held: Mapping[int, int]) -> list[tuple[str, int]]:
        """Look at the next users of either place and return whom it forgot, with their partitions.

        Args:
            most: users to look at in the arena, and as many in the store.
            held: see `worker.state.users.Users.forget_idle`.
        """
        return self._of_arena(most, held) + self._of_store(most, held)

    def _of_arena(self, most: int, held: Mapping[int, int]) -> list[tuple[str, int]]:
        columns = self._arena.columns
        looked_at = self._next_residents(columns.partition, most)
        partitions = columns.partition[looked_at]
        idle = np.zeros(len(looked_at), np.bool_)
        for partition in set(partitions.tolist()):
            late = self._is_idle(partition, columns.active[looked_at])
            late &= columns.offset[looked_at] < held.get(partition, _NO_END)
            idle |= (partitions == partition) & late
        gone = looked_at[idle]
        forgotten = [
            (self._arena.user_id(slot), int(columns.partition[slot])) for slot in gone.tolist()
        ]
        self._arena.release(gone)
        return forgotten

    def _next_residents(self, partitions: NDArray[np.int32], most: int) -> NDArray[np.int64]:
        """Return the slots of the next users, few or none where there are few in the next slots."""
        begin = self._next_slot
        end = begin + _SLOTS_AT_ONCE
        here = begin + np.flatnonzero(partitions[begin:end] != NO_PARTITION)
        if len(here) > most:
            end = int(here[most])
        self._next_slot = end if end < len(partitions) else 0
        return here[:most]

    def _of_store(self, most: int, held: Mapping[int, int]) -> list[tuple[str, int]]:
        partitions = self._store.partitions
        if not partitions:
            return []
        self._turn += 1
        partition = partitions[self._turn % len(partitions)]
        if partition not in self._now:
            return []
        end = held.get(partition, _NO_END)
        idle = []
        for user_id, entry in self._store.scan(partition, most):
            active, offset = _active(entry)
            if offset < end and self._is_idle(partition, np.array([active]))[0]:
                idle.append(user_id)
        self._store.take(partition, idle)
        return [(user_id, partition) for user_id in idle]

    def _is_idle(self, partition: int, active: NDArray[np.int64]) -> NDArray[np.bool_]:
        idle: NDArray[np.bool_] = self._now.get(partition, 0) - active > self._longest_ms
        return idle


def _active(entry: bytes) -> tuple[int, int]:
    """Return when the user was last active, and the offset of the last event."""
    try:
        state = decode_state(from_entry(entry)[1])
    except DecodeError:  # reported when the user comes back, or forgotten right away
        return 0, NO_OFFSET
    return state.active, state.offset
