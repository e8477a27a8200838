"""How many records a micro-batch may have, and how soon it may come after the last one."""

from __future__ import annotations

import time
from collections.abc import Callable

_FEWEST = 16
_WEIGHT = 0.2
"""Of the latest micro-batch in the running means."""


class BatchLimit:
    """Bounds micro-batches by a target for the latency.

    A record that comes while one micro-batch is under way waits for its end and goes through the
    next: so that both take no longer than the target, each may take half of it. Where so many
    records are waiting that the target is missed whatever is done, the largest micro-batches are
    the way out, as they cost the least a record.

    Args:
        most: records in a micro-batch, ever.
        target_s: seconds from a record's arrival to its answer.
    """

    def __init__(self, most: int, target_s: float) -> None:
        self._most = most
        self._target_s = target_s
        self._records = 0.0
        self._seconds = 0.0
        self._behind = False

    @property
    def records(self) -> int:
        """Records that the next micro-batch may have."""
        if self._behind or not self._seconds:
            return self._most
        rate = self._records / self._seconds
        return min(self._most, max(_FEWEST, round(0.5 * self._target_s * rate)))

    def processed(self, records: int, seconds: float, waiting: int) -> None:
        """Take note of a micro-batch.

        Args:
            records: in it.
            seconds: that it took, from records to answers.
            waiting: records that were waiting when it ended.
        """
        self._records += _WEIGHT * (records - self._records)
        self._seconds += _WEIGHT * (seconds - self._seconds)
        self._behind = waiting * self._seconds > self._target_s * self._records


class Pace:
    """Keeps the beginnings of micro-batches apart.

    A micro-batch costs something by itself, however few its records: some milliseconds here, and
    requests to the brokers for every partition. Without a pace a worker that has little to do does
    it a record or two at a time, is busy all the time, and keeps the brokers busy, too. A record
    that comes after a pause is not kept waiting.

    Args:
        apart_s: least time from one beginning to the next, seconds, unless a micro-batch is full.
        clock: seconds.
    """

    def __init__(self, apart_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._apart_s = apart_s
        self._clock = clock
        self._next = clock()

    def wait_s(self) -> float:
        """Return how long a micro-batch with its first record should go on filling, seconds."""
        return max(0.0, self._next - self._clock())

    def begin(self) -> None:
        """Take note that a micro-batch begins."""
        self._next = self._clock() + self._apart_s
