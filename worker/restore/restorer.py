"""Reads `user-state` back for partitions that the group assigned, while others go on."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable

from worker.metrics import RestoredState, RestoreSource, WorkerMetrics
from worker.restore.loader import StateLoader, StateRecord
from worker.topic_reader import PartitionReader

_LOG = logging.getLogger(__name__)

_CHUNK = 10_000
_WAIT_S = 0.05
_TELL_TIMEOUT_S = 30.0
_PROGRESS_S = 5.0

Resume = Callable[[Collection[int]], dict[int, int]]
"""Given partitions, tells the offset of `user-state` to read on from for those whose users up to
there are in the store already: `worker.restore.warm.WarmRestart.resume`."""


class StateRestorer:
    """Restores the users of newly assigned partitions, a chunk at a time.

    Args:
        reader: of `user-state`.
        loader: puts the records into memory.
        metrics: of the restore.
        clickstream: full name of that topic.
        resume: finds users kept by an earlier worker; None reads every partition whole.
    """

    def __init__(
        self,
        reader: PartitionReader,
        loader: StateLoader,
        metrics: WorkerMetrics,
        clickstream: str,
        resume: Resume | None = None,
    ) -> None:
        self._reader = reader
        self._loader = loader
        self._metrics = metrics
        self._clickstream = clickstream
        self._resume = resume
        self._resumed: set[int] = set()
        self._begun: dict[int, float] = {}
        self._next_offsets: dict[int, int] = {}
        self._results: Counter[RestoredState] = Counter()
        self._reported = time.monotonic()

    @property
    def pending(self) -> bool:
        """Whether users are still to be restored."""
        return bool(self._begun)

    def begin(self, partitions: Collection[int]) -> None:
        """Restore the users of these partitions from now on.

        Raises:
            StateStoreError: the folder cannot be read or written.
        """
        now = time.monotonic()
        self._begun.update(dict.fromkeys(partitions, now))
        offsets = {} if self._resume is None else self._resume(partitions)
        self._resumed |= offsets.keys()
        self._reader.add(partitions, offsets)

    def abandon(self, partitions: Iterable[int]) -> None:
        """Restore these no further: they are someone else's."""
        for partition in partitions:
            self._finish(partition)

    def step(self) -> list[int]:
        """Read on a little and return the partitions whose users are all there now.

        Raises:
            BrokerError: the topic cannot be read.
        """
        records: dict[int, list[StateRecord]] = {}
        for message in self._reader.read(_CHUNK, _WAIT_S):
            records.setdefault(message.partition() or 0, []).append(
                (message.key(), message.value())
            )
        for partition, states in records.items():
            self._load(partition, states)
        done = [partition for partition in self._begun if partition not in self._reader.behind]
        left = sum(self._reader.lag(partition) or 0 for partition in self._begun)
        self._metrics.restore_left.set(left)
        for partition in done:
            seconds = time.monotonic() - self._begun[partition]
            self._metrics.restore_seconds.observe(seconds)
            source = (RestoreSource.CHANGELOG, RestoreSource.SNAPSHOT)[partition in self._resumed]
            self._metrics.restored_partitions.labels(source.value).inc()
            self._finish(partition)
        self._report(left, finished=bool(done) and not self._begun)
        return done

    def _load(self, partition: int, states: list[StateRecord]) -> None:
        if partition not in self._next_offsets:
            self._next_offsets[partition] = self._reader.end_offset(
                self._clickstream, partition, _TELL_TIMEOUT_S
            )
        results = self._loader.load(states, partition, self._next_offsets[partition])
        self._results += results
        for result, count in results.items():
            self._metrics.restored_states.labels(result.value).inc(count)

    def _finish(self, partition: int) -> None:
        self._reader.remove([partition])
        self._begun.pop(partition, None)
        self._next_offsets.pop(partition, None)
        self._resumed.discard(partition)

    def _report(self, left: int, *, finished: bool) -> None:
        now = time.monotonic()
        if finished or now - self._reported > _PROGRESS_S:
            self._reported = now
            counts = ", ".join(f"{n} {result.value}" for result, n in self._results.items())
            so_far = "" if finished else f" so far, {left} offsets to go"
            _LOG.info("users' states read back%s: %s", so_far, counts or "0")
        if finished:
            self._results.clear()
