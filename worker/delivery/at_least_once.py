"""At least once: results are acknowledged first, then offsets are committed.

Records are published in a thread of its own, one thing after the other, while the next micro-batch
is worked on. What fails there is raised at the next call, and nothing that comes after it is done.
Offsets are committed by whoever reads the clickstream: a commit in another thread would wait until
a poll of the same consumer is over.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from confluent_kafka import Producer

from schemas.errors import BrokerError
from worker.metrics import Rebalance, Stage, WorkerMetrics
from worker.stages.commit import Committer
from worker.stages.publish import OutgoingRecord, Publisher

_AHEAD = 1
"""Micro-batches that may wait for the brokers while the next one is worked on."""
_COMMIT_EVERY_S = 0.1
"""A commit has the reading thread wait for the brokers, and a crash before it costs no more than
reading again what users' states tell is applied."""
_LOOK_AGAIN_S = 0.002
"""Between two looks whether a micro-batch is acknowledged."""
_CLOSE_WAIT_S = 10.0


@dataclass(frozen=True)
class _Batch:
    """A micro-batch that was handed over."""

    acknowledged: Future[None]
    """Done when all its records are, or when something has failed."""
    next_offsets: Mapping[int, int]
    requests: Mapping[int, int]
    """Likewise, of `privacy`."""


class AtLeastOnce:
    """Publishes and commits.

    Args:
        producer: an idempotent one, used by nobody else.
        committer: of the offsets.
        metrics: of the commits.
        commit_every_s: least time between two commits, seconds, but before partitions go and at
            the end.
    """

    def __init__(
        self,
        producer: Producer,
        committer: Committer,
        metrics: WorkerMetrics,
        *,
        commit_every_s: float = _COMMIT_EVERY_S,
    ) -> None:
        self._producer = producer
        self._publisher = Publisher(producer)
        self._committer = committer
        self._metrics = metrics
        self._visible: Callable[[int], None] = lambda _: None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="delivery")
        self._begun = False
        """Whether records of the micro-batch under way were published."""
        self._waiting: deque[_Batch] = deque()
        """Micro-batches whose records are not all known to be acknowledged, oldest first."""
        self._acknowledged: dict[int, int] = {}
        """Offsets that may be committed, by partition."""
        self._acknowledged_requests: dict[int, int] = {}
        """Likewise, of `privacy`."""
        self._commit_every_s = commit_every_s
        self._next_commit = 0.0
        self._requests: dict[int, int] = {}
        """Offsets of `privacy` that belong to the micro-batch under way."""
        self._last: Future[None] = Future()
        """Of the records published last; fails where they do, or any before them did."""
        self._last.set_result(None)
        self._error: BrokerError | None = None
        """Of a commit while partitions went, or at the end."""
        self._raised = False

    def start(self) -> None:
        """Do nothing: the producer is ready."""

    def on_visible(self, visible: Callable[[int], None]) -> None:
        """Have this called, in the thread, when a micro-batch's first records are acknowledged."""
        self._visible = visible

    @property
    def due_s(self) -> float:
        """Seconds until there is something to look at or to commit; infinite if there is not."""
        if self._waiting:
            return _LOOK_AGAIN_S
        if self._acknowledged or self._acknowledged_requests:
            return max(0.0, self._next_commit - time.monotonic())
        return math.inf

    def polled(self) -> None:
        """Commit what is acknowledged by now, if it is time.

        Raises:
            BrokerError: a record was not acknowledged, or a commit failed.
        """
        self._commit_acknowledged()

    def publish(self, records: Sequence[OutgoingRecord]) -> None:
        """Have records produced once all before them are acknowledged.

        Raises:
            BrokerError: something before them was not.
        """
        self._check()
        first, self._begun = not self._begun, True
        before = self._last
        self._last = self._thread.submit(self._publish, records, first=first, before=before)

    def take_up(self, requests: Mapping[int, int]) -> None:
        """Have offsets of `privacy` committed with those of the micro-batch."""
        self._requests.update(requests)

    def commit(self, next_offsets: Mapping[int, int]) -> None:
        """Have offsets committed once all records are acknowledged.

        Waits until there is no more than a micro-batch with records that are not.

        Raises:
            BrokerError: a record was not acknowledged, or a commit failed, and not because the
                group is rebalancing.
        """
        self._begun = False
        self._waiting.append(_Batch(self._last, next_offsets, self._requests))
        self._requests = {}
        if len(self._waiting) > _AHEAD:
            wait([self._waiting[-_AHEAD - 1].acknowledged])
        self._commit_acknowledged()

    def settle(self, *, more: bool) -> None:
        """Commit what is acknowledged, if it is time, and what could not be committed before.

        Raises:
            BrokerError: something was not acknowledged, or a commit failed.
        """
        self._commit_acknowledged()
        self._committer.retry()

    def give_up(self, how: Rebalance) -> None:
        """Wait for all that is under way; commit, for the last time before the partitions go."""
        self._wait()
        if how is Rebalance.REVOKED:
            self._commit_last()
        self._waiting.clear()
        self._acknowledged, self._acknowledged_requests = {}, {}

    def close(self) -> bool:
        """Wait for all that is under way; return whether everything was delivered.

        Raises:
            BrokerError: something was not acknowledged, or a commit failed, and was not raised yet.
        """
        self._wait()
        self._commit_last()
        self._waiting.clear()
        self._thread.shutdown()
        self._producer.flush(_CLOSE_WAIT_S)
        if not self._raised:
            self._check()
        return self._failure() is None

    def _wait(self) -> None:
        wait([self._last])

    def _commit_acknowledged(self, *, now: bool = False) -> None:
        while self._waiting and self._waiting[0].acknowledged.done():
            if self._waiting[0].acknowledged.exception() is not None:
                break
            batch = self._waiting.popleft()
            self._acknowledged.update(batch.next_offsets)
            self._acknowledged_requests.update(batch.requests)
        if now or time.monotonic() >= self._next_commit:
            self._commit()
        self._check()

    def _commit_last(self) -> None:
        """Commit what can be, unless something has failed; what goes wrong is raised later."""
        if self._failure() is not None:
            return
        try:
            self._commit_acknowledged(now=True)
            self._committer.retry()
        except BrokerError as error:
            self._error = error

    def _failure(self) -> BaseException | None:
        if self._error is not None:
            return self._error
        return self._last.exception() if self._last.done() else None

    def _check(self) -> None:
        failure = self._failure()
        if failure is not None:
            self._raised = True
            raise failure

    def _publish(
        self, records: Sequence[OutgoingRecord], *, first: bool, before: Future[None]
    ) -> None:
        before.result()  # done: there is one thread
        self._publisher.publish(records)
        if first:
            self._visible(1)

    def _commit(self) -> None:
        offsets, self._acknowledged = self._acknowledged, {}
        requests, self._acknowledged_requests = self._acknowledged_requests, {}
        if requests:
            self._committer.take_up(requests)
        if offsets or requests:
            with self._metrics.time(Stage.COMMIT):
                self._committer.commit(offsets)
            self._next_commit = time.monotonic() + self._commit_every_s
