"""At least once: results are acknowledged first, then offsets are committed.

Records are published in a thread of its own, one thing after the other, while the next micro-batch
is worked on. What fails there is raised at the next call, and nothing that comes after it is done.
Offsets are committed by whoever reads the clickstream: a commit in another thread would wait until
a poll of the same consumer is over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from confluent_kafka import Producer

from schemas.errors import BrokerError
from worker.metrics import Rebalance, Stage, WorkerMetrics
from worker.stages.commit import Committer
from worker.stages.publish import OutgoingRecord, Publisher

_AHEAD = 1
"""Micro-batches that may wait for the brokers while the next one is worked on."""
_CLOSE_WAIT_S = 10.0


@dataclass(frozen=True)
class _Batch:
    """A micro-batch that was handed over."""

    acknowledged: Future[None]
    """Done when all its records are, or when something has failed."""
    next_offsets: Mapping[int, int]


class AtLeastOnce:
    """Publishes and commits.

    Args:
        producer: an idempotent one, used by nobody else.
        committer: of the offsets.
        metrics: of the commits.
    """

    def __init__(self, producer: Producer, committer: Committer, metrics: WorkerMetrics) -> None:
        self._producer = producer
        self._publisher = Publisher(producer)
        self._committer = committer
        self._metrics = metrics
        self._visible: Callable[[int], None] = lambda _: None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="delivery")
        self._begun = False
        """Whether records of the micro-batch under way were published."""
        self._waiting: deque[_Batch] = deque()
        """Micro-batches whose offsets are not committed yet, oldest first."""
        self._error: BrokerError | None = None
        self._raised = False
        self._closed = False

    def start(self) -> None:
        """Do nothing: the producer is ready."""

    def on_visible(self, visible: Callable[[int], None]) -> None:
        """Have this called, in the thread, when a micro-batch's first records are acknowledged."""
        self._visible = visible

    @property
    def busy(self) -> bool:
        """Whether there are micro-batches whose offsets are not committed yet."""
        return bool(self._waiting)

    def polled(self) -> None:
        """Commit what is acknowledged by now.

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
        self._thread.submit(self._attempt, lambda: self._publish(records, first=first))

    def commit(self, next_offsets: Mapping[int, int]) -> None:
        """Have offsets committed once all records are acknowledged.

        Waits until there is no more than a micro-batch with records that are not.

        Raises:
            BrokerError: a record was not acknowledged, or a commit failed, and not because the
                group is rebalancing.
        """
        self._begun = False
        self._waiting.append(_Batch(self._thread.submit(lambda: None), next_offsets))
        if len(self._waiting) > _AHEAD:
            self._waiting[-_AHEAD - 1].acknowledged.result()
        self._commit_acknowledged()

    def settle(self, *, more: bool) -> None:
        """Commit what is acknowledged, and what could not be committed before.

        Raises:
            BrokerError: something was not acknowledged, or a commit failed.
        """
        self._commit_acknowledged()
        self._committer.retry()

    def give_up(self, how: Rebalance) -> None:
        """Wait for all that is under way; commit, for the last time before the partitions go."""
        self._wait()
        if how is Rebalance.REVOKED:
            self._attempt(self._commit_all)
        self._waiting.clear()

    def close(self) -> bool:
        """Wait for all that is under way; return whether everything was delivered.

        Raises:
            BrokerError: something was not acknowledged, or a commit failed, and was not raised yet.
        """
        self._wait()
        self._attempt(self._commit_all)
        self._waiting.clear()
        self._closed = True
        self._thread.shutdown()
        self._producer.flush(_CLOSE_WAIT_S)
        if not self._raised:
            self._check()
        return self._error is None

    def _wait(self) -> None:
        if self._closed:  # partitions go when the consumer is closed, after this
            return
        self._thread.submit(lambda: None).result()

    def _commit_acknowledged(self) -> None:
        done: dict[int, int] = {}
        while self._waiting and self._waiting[0].acknowledged.done():
            self._check()  # else it may be done because nothing was tried any more
            done.update(self._waiting.popleft().next_offsets)
        self._check()
        self._commit(done)

    def _commit_all(self) -> None:
        done: dict[int, int] = {}
        for batch in self._waiting:
            done.update(batch.next_offsets)
        self._commit(done)
        self._committer.retry()

    def _check(self) -> None:
        if self._error is not None:
            self._raised = True
            raise self._error

    def _attempt(self, work: Callable[[], None]) -> None:
        """Do something unless what came before has failed."""
        if self._error is not None:
            return
        try:
            work()
        except BrokerError as error:
            self._error = error

    def _publish(self, records: Sequence[OutgoingRecord], *, first: bool) -> None:
        self._publisher.publish(records)
        if first:
            self._visible(1)

    def _commit(self, next_offsets: Mapping[int, int]) -> None:
        if next_offsets:
            with self._metrics.time(Stage.COMMIT):
                self._committer.commit(next_offsets)
