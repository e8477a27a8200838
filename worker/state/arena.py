"""The users in memory: a slot each in arrays on the device and in columns beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.model.inner_loop_kernel import Coded
from worker.model.interface import AdaptationModel, UserArrays
from worker.rows import NO_ITEM
from worker.state.compact import CompactLayout
from worker.state.residents import ResidentUser, Texts
from worker.state.user_columns import NO_PARTITION, UserColumns

_ScalarT = TypeVar("_ScalarT", bound=np.generic)

NO_SLOT = -1
_NO_TEXTS = Texts()
_OLDEST_AT_ONCE = 1024


class ItemNames(Protocol):
    """The catalogue, as far as users' columns need it."""

    item_ids: list[str]
    """Item id by row; a row keeps its item for good."""


class UserArena:
    """Slots for users, growing as needed; slots of users who left are used again.

    A slot holds a user's arrays as the changelog does, rounded (`worker.state.compact`): whoever
    writes arrays and reads them back has what a worker has that reads the changelog.

    Args:
        model: gives the arrays' shapes, device and the starting point of a new user.
        items: says which items the rows in the columns are.
        recent_events: events kept for each user.
        top_k: length of a recommendation.
        capacity: slots to begin with.
    """

    def __init__(
        self,
        model: AdaptationModel,
        items: ItemNames,
        *,
        recent_events: int,
        top_k: int,
        capacity: int = 1024,
    ) -> None:
        self._model = model
        self._items = items
        self.recent_events = recent_events
        self._slots: dict[str, int] = {}
        self._user_ids: list[str] = []
        self._free: list[int] = []
        self._layout = CompactLayout.of(model)
        self._start = self._layout.pack(model.start(1))
        self._rows = self._start[:0]
        self._columns = UserColumns.empty(0, recent_events)
        self._texts: dict[int, Texts] = {}
        self._latest: NDArray[np.int64] = np.empty(0, np.int64)
        self._here: NDArray[np.int64] = np.empty(0, np.int64)
        """By slot, when its user was last here: a count of all touches."""
        self._touches = 0
        self._oldest: list[tuple[int, int]] = []
        """Slots and when their users were last here then, latest first: who may leave next."""
        self.published_rows: NDArray[np.int32] = np.empty((0, top_k), np.int32)
        """Item rows of the list last published, best first, by slot."""
        self.published_known: NDArray[np.bool_] = np.empty(0, np.bool_)
        """Whether `published_rows` holds that list: not so for a user just restored."""
        self._grow(capacity)

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[ResidentUser]:
        """Yield the users, who was away longest first."""
        slots = sorted(self._slots.values(), key=lambda slot: int(self._here[slot]))
        return (ResidentUser(self, slot) for slot in slots)

    @property
    def columns(self) -> UserColumns:
        """What is known of the users besides the arrays, by slot."""
        return self._columns

    @property
    def scratch(self) -> NDArray[np.int64]:
        """A number for each slot, −1: for who leaves it like that."""
        return self._latest

    def get(self, user_id: str) -> ResidentUser | None:
        """Return the user if resident."""
        slot = self._slots.get(user_id)
        return None if slot is None else ResidentUser(self, slot)

    def find(self, user_ids: Sequence[str]) -> list[int]:
        """Return the users' slots, `NO_SLOT` where one is not resident."""
        slot = self._slots.get
        return [slot(user_id, NO_SLOT) for user_id in user_ids]

    def user_id(self, slot: int) -> str:
        """Return whose slot it is."""
        return self._user_ids[slot]

    @property
    def item_ids(self) -> list[str]:
        """Item id by row of the catalogue."""
        return self._items.item_ids

    def item_id(self, row: int) -> str | None:
        """Return the id of the item of a row; None where there is none."""
        return None if row == NO_ITEM else self._items.item_ids[row]

    def texts(self, slot: int) -> Texts:
        """Return what of the user's latest events is not in columns; not to be altered."""
        return self._texts.get(slot, _NO_TEXTS)

    def add_texts(self, slot: int) -> Texts:
        """Return what of the user's latest events is not in columns, to be added to."""
        return self._texts.setdefault(slot, Texts())

    def prune_texts(self, slots: Sequence[int]) -> list[int]:
        """Forget the texts of events that are no longer among the latest.

        Returns:
            Positions among `slots` of the users that have texts.
        """
        if not self._texts:
            return []
        columns, found = self._columns, []
        for position, slot in enumerate(slots):
            texts = self._texts.get(slot)
            if texts is None:
                continue
            keys = set(columns.keys[slot, : columns.kept[slot]].tolist())
            items = {key: text for key, text in texts.items.items() if key in keys}
            queries = {key: text for key, text in texts.queries.items() if key in keys}
            if items or queries:
                self._texts[slot] = Texts(items, queries)
                found.append(position)
            else:
                del self._texts[slot]
        return found

    def admit_all(self, user_ids: Sequence[str], partitions: Sequence[int]) -> NDArray[np.int64]:
        """Give users who are not resident, no two the same, slots at the starting point.

        Args:
            user_ids: of n users.
            partitions: of their events.

        Returns:
            The slots, (n,).
        """
        count = len(user_ids)
        while len(self._free) < count:
            self._grow(2 * len(self._user_ids))
        taken = [self._free.pop() for _ in range(count)]
        slots = np.array(taken, np.int64)
        if not count:
            return slots
        self._slots.update(zip(user_ids, taken, strict=True))
        for slot, user_id in zip(taken, user_ids, strict=True):
            self._user_ids[slot] = user_id
        self._columns.begin(slots, np.array(partitions, np.int32))
        self.published_known[slots] = False
        self.start_anew(self.to_device(slots))
        self.touch(slots)
        return slots

    def touch(self, slots: NDArray[np.int64]) -> None:
        """Take note that these users are here now, the last one latest."""
        self._here[slots] = np.arange(self._touches, self._touches + len(slots))
        self._touches += len(slots)

    def take_longest_away(self, count: int) -> NDArray[np.int64]:
        """Return the slots of those not touched for longest, at most so many; they are to leave."""
        taken: list[int] = []
        while len(taken) < min(count, len(self._slots)):
            if not self._oldest:
                self._oldest = self._find_oldest(max(count, _OLDEST_AT_ONCE), set(taken))
            slot, here = self._oldest.pop()
            # Who came back since is not among those away for longest any more.
            if self._columns.partition[slot] != NO_PARTITION and self._here[slot] == here:
                taken.append(slot)
        return np.array(taken, np.int64)

    def release(self, slots: NDArray[np.int64]) -> None:
        """Forget the users of these slots; the slots are free."""
        self._columns.partition[slots] = NO_PARTITION
        for slot in slots.tolist():
            del self._slots[self._user_ids[slot]]
            self._user_ids[slot] = ""
            self._texts.pop(slot, None)
            self._free.append(slot)

    def wipe(self, user_id: str) -> None:
        """Overwrite what lies in a user's slot, if there is one, before it is released.

        A slot that is only released keeps it all until somebody else gets it.
        """
        slot = self._slots.get(user_id)
        if slot is None:
            return
        void = UserColumns.empty(1, self.recent_events)
        for column, empty in zip(self._columns, void, strict=True):
            np.asarray(column)[slot] = np.asarray(empty)[0]
        self.published_rows[slot] = 0
        self.published_known[slot] = False
        self.start_anew(self.to_device(np.array([slot], np.int64)))

    def release_partition(self, partition: int) -> int:
        """Forget every user of a partition and return how many they were."""
        leaving = np.flatnonzero(self._columns.partition == partition)
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

    def gather_coded(self, slots: Tensor) -> Coded:
        """Return the arrays of these slots, int64 (n,) on the CPU, with A as it lies there."""
        return self._layout.coded(self.gather_rows(slots))

    def gather_rows(self, slots: Tensor) -> Tensor:
        """Return a copy of the rounded arrays of these slots, uint8 (n, bytes)."""
        return self._rows.index_select(0, slots)

    def scatter_rows(self, slots: Tensor, rows: Tensor) -> None:
        """Write rounded arrays, as `gather_rows` returns them, into these slots."""
        self._rows.index_copy_(0, slots, rows)

    def to_device(self, slots: NDArray[np.int64]) -> Tensor:
        """Return slots where the arrays are."""
        return torch.from_numpy(slots).to(self._model.device)

    def _find_oldest(self, count: int, without: set[int]) -> list[tuple[int, int]]:
        slots = np.flatnonzero(self._columns.partition != NO_PARTITION)
        slots = slots[~np.isin(slots, list(without))]
        here = self._here[slots]
        if count < len(slots):
            chosen = np.argpartition(here, count)[:count]
            slots, here = slots[chosen], here[chosen]
        order = np.argsort(-here)
        return list(zip(slots[order].tolist(), here[order].tolist(), strict=True))

    def _grow(self, capacity: int) -> None:
        before = len(self._user_ids)
        more = capacity - before
        self._rows = torch.cat([self._rows, self._start.expand(more, -1)])
        self._columns = self._columns.grown(more)
        self._user_ids += [""] * more
        self._latest = np.concatenate([self._latest, np.full(more, -1, np.int64)])
        self._here = _extend(self._here, more)
        self.published_rows = _extend(self.published_rows, more)
        self.published_known = _extend(self.published_known, more)
        self._free.extend(reversed(range(before, capacity)))


def _extend(array: NDArray[_ScalarT], more: int) -> NDArray[_ScalarT]:
    return np.concatenate([array, np.zeros((more, *array.shape[1:]), array.dtype)])
