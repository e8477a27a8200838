"""The users in memory: a slot each in arrays on the device, and a small record beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.user_state import SupportEvent
from worker.model.interface import AdaptationModel, UserArrays
from worker.rows import NO_ITEM
from worker.state.evidence import is_evidence

_ScalarT = TypeVar("_ScalarT", bound=np.generic)

NO_OFFSET = -1
NEVER = 0
"""`last_time` of a user whose events so far told the model nothing."""


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
    recent: dict[str, SupportEvent] = field(default_factory=dict)
    """Latest events by event id, oldest first."""
    rows: dict[str, int] = field(default_factory=dict)
    """Catalogue rows of those of them that are evidence for a known item."""
    idle: dict[str, None] = field(default_factory=dict)
    """Ids of those of them that are no evidence."""

    def recent_rows(self) -> list[int]:
        """Return the catalogue rows of the recent items, newest first."""
        return list(reversed(self.rows.values()))


class UserArena:
    """Slots for users, growing as needed; slots of users who left are used again.

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
        self._arrays = model.start(0)
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
        self.scatter(self.to_device(slots), self._model.start(len(admitted)))
        return admitted

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

    def remember(self, user: ResidentUser, event: SupportEvent, row: int) -> None:
        """Add an event to the user's recent ones; an old one goes when there are too many.

        Of a full set at most half are events that are no evidence: a page full of impressions must
        not push out what the user's state was learned from.

        Args:
            user: a resident user.
            event: not among the recent ones yet.
            row: of the item that it is evidence for, or `NO_ITEM`.
        """
        recent = user.recent
        recent[event.event_id] = event
        if row != NO_ITEM:
            user.rows[event.event_id] = row
        elif not is_evidence(event.type, event.query):
            user.idle[event.event_id] = None
        if len(recent) > self.recent_events:
            crowded = 2 * len(user.idle) > self.recent_events
            oldest = next(iter(user.idle if crowded else recent))
            for events in (recent, user.rows, user.idle):
                events.pop(oldest, None)

    def gather(self, slots: Tensor) -> UserArrays:
        """Return a copy of the arrays of these slots, int64 (n,)."""
        arrays = self._arrays
        return UserArrays(arrays.hidden[slots], arrays.bias[slots], arrays.adapter[slots])

    def scatter(self, slots: Tensor, users: UserArrays) -> None:
        """Write the arrays of these slots, int64 (n,), no slot twice."""
        self._arrays.hidden[slots] = users.hidden
        self._arrays.bias[slots] = users.bias
        self._arrays.adapter[slots] = users.adapter

    def to_device(self, slots: NDArray[np.int64]) -> Tensor:
        """Return slots where the arrays are."""
        return torch.from_numpy(slots).to(self._model.device)

    def _grow(self, capacity: int) -> None:
        before = len(self.published_known)
        more = capacity - before
        start = self._model.start(more)
        arrays = self._arrays
        self._arrays = UserArrays(
            torch.cat([arrays.hidden, start.hidden]),
            torch.cat([arrays.bias, start.bias]),
            torch.cat([arrays.adapter, start.adapter]),
        )
        self.published_rows = _extend(self.published_rows, more)
        self.published_known = _extend(self.published_known, more)
        self._free.extend(reversed(range(before, capacity)))


def _extend(array: NDArray[_ScalarT], more: int) -> NDArray[_ScalarT]:
    return np.concatenate([array, np.zeros((more, *array.shape[1:]), array.dtype)])
