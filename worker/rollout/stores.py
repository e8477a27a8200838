"""Users of several arms: each is in one arena or in the store, and moves to where it is wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from worker.arm import Arm
from worker.state.arena import NO_SLOT
from worker.state.entry import to_entry
from worker.state.store import StateStore


class SharedStore:
    """`StateStore` of arms whose users are disjoint: what is asked for may be in an arm's arena.

    So a user whom another arm is to serve now moves over with its next event, as the record that it
    has in the changelog; nothing has to be moved when the arms change.

    Args:
        store: of the users in no arena.
        arms: returns all arms, those no longer serving included.
    """

    def __init__(self, store: StateStore, arms: Callable[[], Iterable[Arm]]) -> None:
        self._store = store
        self._arms = arms

    def put(self, partition: int, users: Mapping[str, bytes]) -> None:
        """Keep these; see `StateStore`."""
        self._store.put(partition, users)

    def take(self, partition: int, user_ids: Iterable[str]) -> dict[str, bytes]:
        """Return and forget these, wherever they are; see `StateStore`."""
        wanted = list(user_ids)
        for arm in self._arms():
            slots = np.array(arm.arena.find(wanted), np.int64)
            arm.users.send_out(slots[slots != NO_SLOT])
        return self._store.take(partition, wanted)

    def scan(self, partition: int, most: int) -> list[tuple[str, bytes]]:
        """Return the next users in no arena; see `StateStore`."""
        return self._store.scan(partition, most)

    def drop(self, partition: int) -> None:
        """Forget a partition's users in no arena."""
        self._store.drop(partition)

    def count(self, partition: int) -> int:
        """Return how many users of a partition are in no arena."""
        return self._store.count(partition)

    @property
    def partitions(self) -> list[int]:
        """Partitions that hold, or held, users in no arena."""
        return self._store.partitions

    def close(self) -> None:
        """Free everything; nothing is kept."""
        self._store.close()


class ShadowStore(SharedStore):
    """`StateStore` of a shadow: whom it does not know yet it gets a copy of.

    Args:
        store: of the shadow's own users in no arena.
        serving: returns the arms that serve; who is asked for is in the arena of one of them.
    """

    def take(self, partition: int, user_ids: Iterable[str]) -> dict[str, bytes]:
        """Return and forget these; copies of those whom the shadow has not met."""
        wanted = list(user_ids)
        found = self._store.take(partition, wanted)
        rest = [user_id for user_id in wanted if user_id not in found]
        for arm in self._arms():
            slots = np.array(arm.arena.find(rest), np.int64)
            slots = slots[slots != NO_SLOT]
            records = arm.state_records.encode(slots) if slots.size else []
            for slot, record in zip(slots.tolist(), records, strict=True):
                # Without the list last published: that one is not the shadow's.
                found[arm.arena.user_id(slot)] = to_entry(b"", record)
        return found
