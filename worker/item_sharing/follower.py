"""Follows `item-transitions`: whole before the first event, then between micro-batches."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterable

from worker.item_sharing.learning import ItemLearning
from worker.item_sharing.log import TransitionLog
from worker.metrics import TransitionSource, WorkerMetrics
from worker.topic_reader import PartitionReader

_LOG = logging.getLogger(__name__)

_CHUNK = 500
_SMALL_CHUNK = 32
"""Records read at a time between micro-batches: at most 2,048 transitions."""
_WAIT_S = 0.05
_TELL_TIMEOUT_S = 30.0
_PROGRESS_S = 5.0
_SHARE_S = 0.02
"""After this time, seconds, the next micro-batch comes before more of what others learned."""
_LAG_EVERY_S = 1.0


class TransitionFollower:
    """Keeps the item memory level with what all workers learn.

    Every partition is followed, this worker's own too. One that the group assigns is ready once it
    is read to where it ended at that time, for then its last owner had stopped writing.

    Args:
        reader: of `item-transitions`; this object adds all its partitions.
        partitions: how many the topic has.
        learning: learns what is read.
        log: told when a partition of `clickstream` has begun anew.
        metrics: of the following.
        clickstream: full name of that topic.
    """

    def __init__(
        self,
        reader: PartitionReader,
        partitions: int,
        *,
        learning: ItemLearning,
        log: TransitionLog,
        metrics: WorkerMetrics,
        clickstream: str,
    ) -> None:
        self._reader = reader
        self._partitions = range(partitions)
        self._learning = learning
        self._log = log
        self._metrics = metrics
        self._clickstream = clickstream
        self._targets: dict[int, int | None] = {}
        self._lag_told = -_LAG_EVERY_S
        self.behind = True
        """Whether the latest `follow` left something unread."""
        reader.add(self._partitions)

    @property
    def pending(self) -> bool:
        """Whether assigned partitions are not ready yet."""
        return bool(self._targets)

    def restore(self, stop: threading.Event) -> bool:
        """Read every partition to where it ends now, or until `stop` is set.

        Returns:
            Whether the ends were reached.

        Raises:
            BrokerError: the topic cannot be read.
        """
        begin = reported = time.monotonic()
        ends = {partition: self._end(partition) for partition in self._partitions}
        records = 0
        while not stop.is_set() and not self._reached(ends):
            records += self._read(_WAIT_S, TransitionSource.RESTORED)
            now = time.monotonic()
            if now - reported > _PROGRESS_S:
                reported = now
                left = sum(self._left(partition, end) for partition, end in ends.items())
                _LOG.info("item transitions: %d records read, at most %d left", records, left)
        seconds = time.monotonic() - begin
        self._metrics.item_memory_restore_seconds.observe(seconds)
        _LOG.info("item transitions: %d records read back in %.1f s", records, seconds)
        return self._reached(ends)

    def begin(self, partitions: Collection[int]) -> None:
        """Take note of partitions that the group assigned."""
        self._targets.update(dict.fromkeys(partitions))

    def abandon(self, partitions: Iterable[int]) -> None:
        """Take note of partitions that are someone else's; they are followed as before."""
        for partition in partitions:
            self._targets.pop(partition, None)

    def step(self) -> list[int]:
        """Read on a little and return the assigned partitions that are ready now.

        Raises:
            BrokerError: the topic cannot be read, or not to its end for a hanging transaction.
        """
        # The last owner's latest transaction may not be all there yet, or for ever.
        ends = {
            partition: self._reader.written_end(partition, _TELL_TIMEOUT_S) if end is None else end
            for partition, end in self._targets.items()
        }
        self._targets.update(ends)
        self._read(0.0 if self._reached(ends) else _WAIT_S, TransitionSource.FOLLOWED)
        ready = [partition for partition, end in ends.items() if not self._left(partition, end)]
        for partition, end in ends.items():
            self._reader.await_offset(partition, end)
        for partition in ready:
            del self._targets[partition]
            self._check_offsets(partition)
        return ready

    def follow(self) -> None:
        """Learn what the other workers published, as far as it is here and time allows.

        Raises:
            BrokerError: the topic cannot be read.
        """
        begin = time.monotonic()
        self.behind = True
        while self.behind and time.monotonic() - begin < _SHARE_S:
            self.behind = self._read(0.0, TransitionSource.FOLLOWED, _SMALL_CHUNK) > 0
        if begin - self._lag_told >= _LAG_EVERY_S:
            self._lag_told = begin
            for partition in self._partitions:
                lag = self._reader.lag(partition)
                if lag is not None:
                    self._metrics.item_transitions_lag.labels(str(partition)).set(lag)

    def _read(self, wait_s: float, source: TransitionSource, most: int = _CHUNK) -> int:
        messages = self._reader.read(most, wait_s)
        if messages:
            self._learning.follow(messages, source)
        return len(messages)

    def _end(self, partition: int) -> int:
        return self._reader.end_offset(self._reader.topic, partition, _TELL_TIMEOUT_S)

    def _left(self, partition: int, end: int) -> int:
        return max(0, end - self._reader.position(partition))

    def _reached(self, ends: dict[int, int]) -> bool:
        return not any(self._left(partition, end) for partition, end in ends.items())

    def _check_offsets(self, partition: int) -> None:
        end = self._reader.end_offset(self._clickstream, partition, _TELL_TIMEOUT_S)
        if self._log.last_offset(partition) >= end:
            _LOG.warning(
                "item transitions of partition %d are ahead of the clickstream, which must have "
                "been made anew since: its events are learned whatever their offsets",
                partition,
            )
            self._log.restart(partition)
