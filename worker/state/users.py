"""The users of the worker's partitions: some in the arena, all others in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.metrics import UserMove, WorkerMetrics
from worker.state.arena import NO_SLOT, UserArena
from worker.state.entry import from_entry, to_entry
from worker.state.records import StateRecords
from worker.state.store import MemoryStore, StateStore
from worker.state.sweep import IdleSweep


@dataclass(frozen=True)
class StoredUser:
    """What comes out of the store."""

    user_id: str
    partition: int
    record: bytes
    """Value of a `user-state` record."""


Revive = Callable[[Sequence[StoredUser]], None]
"""Puts users with readable records into the arena: `worker.restore.revival.Revival`."""


class Users:
    """Brings users into the arena when they have events, and out when there are too many.

    Who has been away longest leaves first, for the store, and is there what its changelog record
    is; with it goes the list last published. Who comes back has what a user has that never left.

    Args:
        arena: the resident users; altered by nobody else.
        store: of the others.
        revive: makes users of records.
        metrics: of who comes and goes.
        records: makes records of users.
        most_resident: users that may be resident; None for any number. A micro-batch's users are
            resident together, so there may be more of them for as long as it takes.
        ttl_ms: milliseconds that a user may be idle, by event time, before being forgotten; None
            for ever.
    """

    def __init__(
        self,
        arena: UserArena,
        store: StateStore,
        revive: Revive,
        metrics: WorkerMetrics,
        *,
        records: StateRecords,
        most_resident: int | None = None,
        ttl_ms: int | None = None,
    ) -> None:
        self.arena = arena
        self._store = store
        self._revive = revive
        self._metrics = metrics
        self._records = records
        self._most_resident = most_resident
        self.ttl_ms = ttl_ms
        self._sweep = None if ttl_ms is None else IdleSweep(arena, store, ttl_ms)
        self.alone = True
        """Whether `report` sets the gauges: not if there are other arms, whose users count, too."""

    def bring_in(self, user_ids: Sequence[str], partitions: Sequence[int]) -> NDArray[np.int64]:
        """Have users in the arena; those not known get a slot at the model's starting point.

        Args:
            user_ids: n of them, some more than once.
            partitions: of their events.

        Returns:
            Their slots, (n,).

        Raises:
            StateStoreError: the store cannot be read or written.
        """
        slots = np.array(self.arena.find(user_ids), np.int64)
        missing = np.flatnonzero(slots == NO_SLOT).tolist()
        self.arena.touch(slots[slots != NO_SLOT])
        if missing:
            coming = {user_ids[i]: partitions[i] for i in missing}
            self._make_room(len(coming), len(np.unique(slots)) - 1)
            self._admit(coming)
            slots[missing] = self.arena.find([user_ids[i] for i in missing])
        elif self._most_resident is not None:
            self._make_room(0, len(np.unique(slots)))
        return slots

    def send_out(self, slots: NDArray[np.int64]) -> None:
        """Put the users of these slots into the store.

        Raises:
            StateStoreError: the store cannot be written.
        """
        if not slots.size:
            return
        by_partition: dict[int, dict[str, bytes]] = {}
        partitions = self.arena.columns.partition[slots].tolist()
        records = self._records.encode(slots)
        for slot, partition, record in zip(slots.tolist(), partitions, records, strict=True):
            entry = to_entry(self._published(slot), record)
            by_partition.setdefault(partition, {})[self.arena.user_id(slot)] = entry
        for partition, entries in by_partition.items():
            self._store.put(partition, entries)
        self.arena.release(slots)
        self._metrics.user_moves.labels(UserMove.EVICTED.value).inc(len(slots))

    def saw(self, partitions: Sequence[int], times: Sequence[int]) -> None:
        """Take note of the times of events, for `forget_idle`."""
        if self._sweep is not None and len(partitions):
            self._sweep.saw(partitions, times)

    def forget_idle(
        self, most: int, held: Mapping[int, int] | None = None
    ) -> list[tuple[str, int]]:
        """Look for users idle for too long; return those forgotten, with their partitions.

        The changelog is not written: whoever calls this puts null values there.

        Args:
            most: users to look at in the arena, and as many in the store.
            held: by partition an offset from which on nobody is forgotten who has an event there:
                after a crash it would be read again.

        Raises:
            StateStoreError: the store cannot be read or written.
        """
        if self._sweep is None:
            return []
        forgotten = self._sweep.step(most, held or {})
        self.count_forgotten(len(forgotten))
        return forgotten

    def count_forgotten(self, users: int) -> None:
        """Count users forgotten for being idle."""
        self._metrics.user_moves.labels(UserMove.FORGOTTEN.value).inc(users)

    def store(self, partition: int, records: Mapping[str, bytes | None]) -> None:
        """Take over users as the changelog has them; None for those who are erased.

        Raises:
            StateStoreError: the store cannot be written.
        """
        self._release(records)
        gone = [user_id for user_id, record in records.items() if record is None]
        self._store.take(partition, gone)
        kept = {u: to_entry(b"", record) for u, record in records.items() if record is not None}
        self._store.put(partition, kept)

    def erase(self, user_id: str) -> bool:
        """Forget a user; return whether there was one.

        The changelog is not written: whoever calls this puts a null value there.
        """
        self.arena.wipe(user_id)
        found = self._release([user_id])
        taken = [self._store.take(partition, [user_id]) for partition in self._store.partitions]
        return found or any(taken)

    def release_partition(self, partition: int) -> None:
        """Forget the users of a partition: they are someone else's."""
        self.arena.release_partition(partition)
        self._store.drop(partition)
        if self._sweep is not None:
            self._sweep.drop(partition)

    @property
    def stored(self) -> int:
        """How many users are in the store."""
        return sum(map(self._store.count, self._store.partitions))

    def report(self) -> None:
        """Set the gauges, if these are all users that there are."""
        if self.alone:
            self._metrics.users_resident.set(len(self.arena))
            self._metrics.users_stored.set(self.stored)

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def _release(self, user_ids: Iterable[str]) -> bool:
        slots = np.array(self.arena.find(list(user_ids)), np.int64)
        resident = slots[slots != NO_SLOT]
        self.arena.release(resident)
        return bool(resident.size)

    def _make_room(self, coming: int, staying: int) -> None:
        """Evict as many of those who are not in the micro-batch as there are too many."""
        if self._most_resident is not None:
            others = len(self.arena) - staying
            count = min(others, len(self.arena) + coming - self._most_resident)
            self.send_out(self.arena.take_longest_away(max(0, count)))

    def _admit(self, coming: Mapping[str, int]) -> None:
        by_partition: dict[int, list[str]] = {}
        for user_id, partition in coming.items():
            by_partition.setdefault(partition, []).append(user_id)
        for partition, user_ids in by_partition.items():
            self._return(partition, self._store.take(partition, user_ids))
        found = self.arena.find(list(coming))
        new = [user for user, slot in zip(coming, found, strict=True) if slot == NO_SLOT]
        self.arena.admit_all(new, [coming[user] for user in new])

    def _return(self, partition: int, entries: Mapping[str, bytes]) -> None:
        if not entries:
            return
        lists: dict[str, bytes] = {}
        users = []
        for user_id, entry in entries.items():
            published, record = from_entry(entry)
            users.append(StoredUser(user_id, partition, record))
            if published:
                lists[user_id] = published
        self._revive(users)
        found = zip(self.arena.find(list(lists)), lists.values(), strict=True)
        returned = [(slot, published) for slot, published in found if slot != NO_SLOT]
        if returned:
            slots = np.array([slot for slot, _ in returned], np.int64)
            rows = np.frombuffer(b"".join(published for _, published in returned), np.int32)
            self.arena.published_rows[slots] = rows.reshape(len(returned), -1)
            self.arena.published_known[slots] = True
        self._metrics.user_moves.labels(UserMove.RETURNED.value).inc(len(entries))

    def _published(self, slot: int) -> bytes:
        arena = self.arena
        return arena.published_rows[slot].tobytes() if arena.published_known[slot] else b""


def all_resident(arena: UserArena, metrics: WorkerMetrics) -> Users:
    """Return users who stay in the arena once they are there, and none stored."""

    def revive(stored: Sequence[StoredUser]) -> None:
        raise AssertionError("nobody is stored")

    return Users(arena, MemoryStore(), revive, metrics, records=StateRecords(arena, ""))
