"""Forgetting users who do not come back."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from worker.insights.faust_parts import DurableTable, Event, in_partition
from worker.insights.partition import Partition
from worker.insights.user_record import decode_user

_INTERVAL_MS = 3_600_000
_AT_ONCE = 500


class Sweep:
    """Goes through the table of users, a few in each round of work, and hourly through all.

    The clock is the latest time of an event or a recommendation of the partition, so where nothing
    happens nobody is forgotten.

    Args:
        users: the table.
        now_ms: tells when an hour is over.
    """

    def __init__(self, users: DurableTable, now_ms: Callable[[], int]) -> None:
        self._users = users
        self._now_ms = now_ms
        self._left: list[bytes] = []
        self._begun_ms = 0

    def some(self, partitions: Mapping[int, Partition], anchors: Mapping[int, Event]) -> None:
        """Look at some users, and remove those who were idle for longer than they count."""
        if not self._left:
            if self._now_ms() - self._begun_ms < _INTERVAL_MS or not anchors:
                return
            self._begun_ms = self._now_ms()
            self._left = list(self._users.keys())
        looked, self._left = self._left[-_AT_ONCE:], self._left[:-_AT_ONCE]
        for key in looked:
            value = self._users.get(key)
            user = None if value is None else decode_user(value)
            if user is None or user.partition not in anchors:
                continue
            if partitions[user.partition].forget_if_idle(user):
                with in_partition(anchors[user.partition]):
                    del self._users[key]
