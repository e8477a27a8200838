"""Whom an answer is owed: events applied whose users were answered too lately."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from worker.metrics import WorkerMetrics

if TYPE_CHECKING:
    from worker.tracing.event_trace import EventTrace

_FOR_EVER = float("inf")


@dataclass(slots=True)
class OwedAnswer:
    """The answer that a user is owed, to the latest of some events."""

    user_id: str
    partition: int
    first_offset: int
    """Of the oldest of these events."""
    due: float
    """When it may be given, seconds of the clock."""
    event_ids: list[str] = field(default_factory=list)
    """Oldest first."""
    record_times: list[int] = field(default_factory=list)
    """Timestamps of their records."""
    time: int = 0
    """Of the latest event, milliseconds since the epoch, and so is what follows."""
    surface: str | None = None
    stepped: bool = False
    loss_before: float = 0.0
    loss_after: float = 0.0
    traces: list[EventTrace] = field(default_factory=list)
    """Of those of the events that are traced."""


class Owed:
    """Remembers whom an answer is owed, and who was answered less than the interval ago.

    What is owed is in this memory alone. The states of these users are not published, and offsets
    are not committed beyond `held`, so whoever has the partitions next reads the events again.

    Args:
        interval_s: least time between two answers of a user, seconds; 0 owes nobody anything.
        metrics: of what is put off.
        clock: seconds, never set back.
    """

    def __init__(
        self,
        interval_s: float,
        metrics: WorkerMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval_s = interval_s
        self._metrics = metrics
        self._clock = clock
        self._answered: dict[str, float] = {}
        """When users were answered, longest ago first."""
        self._new: list[str] = []
        """Users whose answers are being published."""
        self._owed: dict[str, OwedAnswer] = {}
        self._due: list[tuple[float, str]] = []
        """Heaps; an entry that is not that of its user's `OwedAnswer` is void."""
        self._first: dict[int, list[tuple[int, str]]] = {}

    def __len__(self) -> int:
        """Return how many users are owed an answer."""
        return len(self._owed)

    def twin(self) -> Owed:
        """Return one that owes nobody anything yet, counted nowhere."""
        return Owed(self._interval_s, WorkerMetrics(), self._clock)

    def wait_s(self) -> float:
        """Return the seconds until somebody is to be answered; infinity if nobody is owed."""
        due = self._due
        while due and not self._is_due_entry(*due[0]):
            heapq.heappop(due)
        return max(0.0, due[0][0] - self._clock()) if due else _FOR_EVER

    def begin(self) -> list[OwedAnswer]:
        """Begin a micro-batch; return the answers that may be given by now."""
        now = self._clock()
        free = []
        for user_id, when in self._answered.items():
            if when + self._interval_s > now:
                break
            free.append(user_id)
        for user_id in free:
            del self._answered[user_id]
        found = []
        while self._due and self._due[0][0] <= now:
            when, user_id = heapq.heappop(self._due)
            if self._is_due_entry(when, user_id):
                found.append(self._owed[user_id])
        for one in found:  # as long as they are owed they are due
            heapq.heappush(self._due, (one.due, one.user_id))
        return found

    def may_answer(self, user_id: str) -> bool:
        """Tell whether the user may be answered in this micro-batch."""
        return user_id not in self._answered

    def put_off(self, user_id: str, partition: int, offset: int) -> OwedAnswer:
        """Return what the user is owed, to be added to.

        Args:
            user_id: a user who may not be answered.
            partition: of the event that is not answered.
            offset: likewise.
        """
        found = self._owed.get(user_id)
        if found is None:
            due = self._answered[user_id] + self._interval_s
            found = self._owed[user_id] = OwedAnswer(user_id, partition, offset, due)
            heapq.heappush(self._due, (due, user_id))
            heapq.heappush(self._first.setdefault(partition, []), (offset, user_id))
            self._metrics.recommendations_deferred.inc()
        return found

    def settle(self, user_id: str) -> OwedAnswer | None:
        """Return what the user was owed and is given now."""
        if self._interval_s > 0:
            self._new.append(user_id)
        return self._owed.pop(user_id, None)

    def spared(self, events: int) -> None:
        """Count events answered together with a later one."""
        self._metrics.events_coalesced.inc(events)

    def published(self) -> None:
        """Take note that the answers of the micro-batch go out now: from here the interval runs."""
        now = self._clock()
        self._answered.update(dict.fromkeys(self._new, now))
        self._new.clear()
        self._report()

    def held(self) -> dict[int, int]:
        """Return by partition the offset of the first event that is owed an answer."""
        offsets = {}
        for partition, heap in list(self._first.items()):
            while heap and not self._is_first_entry(*heap[0]):
                heapq.heappop(heap)
            if heap:
                offsets[partition] = heap[0][0]
            else:
                del self._first[partition]
        return offsets

    def make_due(self) -> bool:
        """Have all be answered with the next micro-batch, at the end; return whether any are."""
        if not self._owed:
            return False
        self._answered.clear()
        for one in self._owed.values():
            one.due = 0.0
        self._due = [(0.0, user_id) for user_id in self._owed]
        return True

    def forget(self, user_ids: Sequence[str]) -> None:
        """Owe these users nothing: there is nothing left of them."""
        for user_id in user_ids:
            self._owed.pop(user_id, None)
            self._answered.pop(user_id, None)
        self._report()

    def release_partitions(self, partitions: Iterable[int]) -> None:
        """Owe nothing to the users of partitions that are someone else's."""
        gone = set(partitions)
        self.forget([one.user_id for one in self._owed.values() if one.partition in gone])

    def _is_due_entry(self, due: float, user_id: str) -> bool:
        found = self._owed.get(user_id)
        return found is not None and found.due == due

    def _is_first_entry(self, offset: int, user_id: str) -> bool:
        found = self._owed.get(user_id)
        return found is not None and found.first_offset == offset

    def _report(self) -> None:
        self._metrics.users_owed.set(len(self._owed))
