"""How many records a micro-batch may have: few where latency can be kept, many where it cannot."""

from __future__ import annotations

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
