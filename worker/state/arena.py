"""The users in memory: a slot each in arrays on the device, and a small record beside it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.model.interface import AdaptationModel, UserArrays
from worker.state.compact import CompactLayout
from worker.state.recent import LatestEvents

_ScalarT = TypeVar("_ScalarT", bound=np.generic)

NO_OFFSET = -1
NEVER = 0
"""`last_time` of a user whose events so far told the model nothing; `active` of one without any."""


@dataclass(slots=True, eq=False)
class ResidentUser:
    """What the worker knows of a user besides the model's arrays."""

    user_id: str
    slot: int
    partition: int
    """Partition of `clickstream` with the user's events, and of `user-state` with the state."""
    offset: int = NO_OFFSET
    """Of the last record applied."""
    events_seen: int = 0
    last_time: int = NEVER
    """Latest time of an event that the model learned from, milliseconds since the epoch."""
    active: int = NEVER
    """Latest time of any event, milliseconds since the epoch."""
    recent: LatestEvents = field(default_factory=LatestEvents)

    def idle_ms(self, time: int) -> int:
        """Return how long the user has been idle by then, milliseconds; 0 for a new one."""
        return time - self.active if self.events_seen else 0

    def forget(self) -> None:
        """Forget all but where the user is and which records were applied."""
        self.events_seen = 0
        self.last_time = self.active = NEVER
        self.recent = LatestEvents()


class UserArena:
    """Slots for users, growing as needed; slots of users who left are used again.

    A slot holds a user's arrays as the changelog does, rounded (`worker.state.compact`): whoever
    writes arrays and reads them back has what a worker has that reads the changelog.

    Args:
        model: gives the arrays' shapes, device and the starting point of a new user.
        recent_events: events kept for each user.
        top_k: length of a recommendation.
        capacity: slots to begin with.
    """

    def __init__(
        self, model: AdaptationModel, *, recent_events: int, top_k: int, capacity: int = 1024
    ) -> None:
        self._model = model
        self.recent_events = recent_events
        self._users: dict[str, ResidentUser] = {}
        self._free: list[int] = []
        self._layout = CompactLayout.of(model)
        self._start = self._layout.pack(model.start(1))
        self._rows = self._start[:0]
        self.published_rows: NDArray[np.int32] = np.empty((0, top_k), np.int32)
        """Item rows of the list last published, best first, by slot."""
        self.published_known: NDArray[np.bool_] = np.empty(0, np.bool_)
        """Whether `published_rows` holds that list: not so for a user just restored."""
        self._grow(capacity)

    def __len__(self) -> int:
        return len(self._users)

    def __iter__(self) -> Iterator[ResidentUser]:
        return iter(self._users.values())

    def get(self, user_id: str) -> ResidentUser | None:
        """Return the user if resident."""
        return self._users.get(user_id)

    def admit(self, user_id: str, partition: int) -> ResidentUser:
        """Give a user who is not resident a slot, at the model's starting point."""
        return self.admit_all([(user_id, partition)])[0]

    def admit_all(self, users: Sequence[tuple[str, int]]) -> list[ResidentUser]:
        """Give users who are not resident, each with a partition, slots at the starting point."""
        while len(self._free) < len(users):
            self._grow(2 * len(self.published_known))
        admitted = []
        for user_id, partition in users:
            user = ResidentUser(user_id, self._free.pop(), partition)
            self._users[user_id] = user
            admitted.append(user)
        if not admitted:
            return []
        slots = np.array([user.slot for user in admitted], np.int64)
        self.published_known[slots] = False
        self.start_anew(self.to_device(slots))
        return admitted

    def touch(self, user_ids: Iterable[str]) -> None:
        """Take note that these users, as far as they are resident, are here now."""
        for user_id in user_ids:
            user = self._users.pop(user_id, None)
            if user is not None:
                self._users[user_id] = user

    def longest_away(self, count: int) -> list[ResidentUser]:
        """Return the users who were not admitted or touched for longest, at most so many."""
        return list(itertools.islice(self._users.values(), max(0, count)))

    def release(self, users: Iterable[ResidentUser]) -> None:
        """Forget users; their slots are free."""
        for user in list(users):
            del self._users[user.user_id]
            self._free.append(user.slot)

    def release_partition(self, partition: int) -> int:
        """Forget every user of a partition and return how many they were."""
        leaving = [user for user in self if user.partition == partition]
        self.release(leaving)
        return len(leaving)

    def start_anew(self, slots: Tensor) -> None:
        """Put the starting point into these slots, int64 (n,)."""
        self._rows[slots] = self._start

    def gather(self, slots: Tensor) -> UserArrays:
        """Return the arrays of these slots, int64 (n,)."""
        return self._layout.unpack(self.gather_rows(slots))

    def scatter(self, slots: Tensor, users: UserArrays) -> None:
        """Write the arrays of these slots, int64 (n,), no slot twice; they are rounded."""
        self.scatter_rows(slots, self._layout.pack(users))

    def gather_rows(self, slots: Tensor) -> Tensor:
        """Return a copy of the rounded arrays of these slots, uint8 (n, bytes)."""
        return self._rows.index_select(0, slots)

    def scatter_rows(self, slots: Tensor, rows: Tensor) -> None:
        """Write rounded arrays, as `gather_rows` returns them, into these slots."""
        self._rows.index_copy_(0, slots, rows)

    def to_device(self, slots: NDArray[np.int64]) -> Tensor:
        """Return slots where the arrays are."""
        return torch.from_numpy(slots).to(self._model.device)

    def _grow(self, capacity: int) -> None:
        before = len(self.published_known)
        more = capacity - before
        self._rows = torch.cat([self._rows, self._start.expand(more, -1)])
        self.published_rows = _extend(self.published_rows, more)
        self.published_known = _extend(self.published_known, more)
        self._free.extend(reversed(range(before, capacity)))


def _extend(array: NDArray[_ScalarT], more: int) -> NDArray[_ScalarT]:
    return np.concatenate([array, np.zeros((more, *array.shape[1:]), array.dtype)])
