"""Users who are not in the arena: what is stored of them, as bytes, by partition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from worker.state.disk_store import DiskStore
from worker.state.sealing import PLAIN, Sealing


class StateStore(Protocol):
    """Keeps bytes for users of the partitions that the worker has."""

    def put(self, partition: int, users: Mapping[str, bytes]) -> None:
        """Keep these, in place of what was there."""
        ...

    def take(self, partition: int, user_ids: Iterable[str]) -> dict[str, bytes]:
        """Return and forget what there is of these users."""
        ...

    def scan(self, partition: int, most: int) -> list[tuple[str, bytes]]:
        """Return the next users of a partition, in some order; over and over, all of them.

        A user that is there throughout one round is returned in it.
        """
        ...

    def drop(self, partition: int) -> None:
        """Forget a partition's users."""
        ...

    def count(self, partition: int) -> int:
        """Return how many users of a partition there are."""
        ...

    @property
    def partitions(self) -> list[int]:
        """Partitions that hold, or held, users."""
        ...

    def close(self) -> None:
        """Free everything; nothing is kept."""
        ...


class MemoryStore:
    """`StateStore` in a dictionary."""

    def __init__(self) -> None:
        self._users: dict[int, dict[str, bytes]] = {}
        self._to_scan: dict[int, list[str]] = {}

    def put(self, partition: int, users: Mapping[str, bytes]) -> None:
        """Keep these; see `StateStore`."""
        self._users.setdefault(partition, {}).update(users)

    def take(self, partition: int, user_ids: Iterable[str]) -> dict[str, bytes]:
        """Return and forget these; see `StateStore`."""
        stored = self._users.get(partition)
        if not stored:
            return {}
        found = ((user_id, stored.pop(user_id, None)) for user_id in user_ids)
        return {user_id: value for user_id, value in found if value is not None}

    def scan(self, partition: int, most: int) -> list[tuple[str, bytes]]:
        """Return the next users; see `StateStore`."""
        stored = self._users.get(partition, {})
        ids = self._to_scan.get(partition)
        if not ids:
            ids = self._to_scan[partition] = list(stored)
        chosen = [ids.pop() for _ in range(min(most, len(ids)))]
        return [(user_id, stored[user_id]) for user_id in chosen if user_id in stored]

    def drop(self, partition: int) -> None:
        """Forget a partition's users."""
        self._users.pop(partition, None)
        self._to_scan.pop(partition, None)

    def count(self, partition: int) -> int:
        """Return how many users of a partition there are."""
        return len(self._users.get(partition, ()))

    @property
    def partitions(self) -> list[int]:
        """Partitions that hold, or held, users."""
        return list(self._users)

    def close(self) -> None:
        """Forget everyone."""
        self._users.clear()
        self._to_scan.clear()


def open_store(folder: Path | None, *, warm: bool = False, sealing: Sealing = PLAIN) -> StateStore:
    """Return a store in a folder, or in memory where there is none.

    Args:
        folder: of the store.
        warm: whether to offer what an earlier store kept there.
        sealing: how users are written there.

    Raises:
        StateStoreError: the folder cannot be used.
    """
    return MemoryStore() if folder is None else DiskStore(folder, warm=warm, sealing=sealing)
