"""At least once: results are acknowledged first, then offsets are committed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from confluent_kafka import Producer

from worker.metrics import Rebalance
from worker.stages.commit import Committer
from worker.stages.publish import OutgoingRecord, Publisher

_CLOSE_WAIT_S = 10.0


class AtLeastOnce:
    """Publishes and commits at once.

    Args:
        producer: an idempotent one, used by nobody else.
        committer: of the offsets.
    """

    def __init__(self, producer: Producer, committer: Committer) -> None:
        self._producer = producer
        self._publisher = Publisher(producer)
        self._committer = committer

    def start(self) -> None:
        """Do nothing: the producer is ready."""

    def on_commit(self, visible: Callable[[], None]) -> None:
        """Do nothing: records are visible before their offsets are committed."""

    def polled(self) -> None:
        """Do nothing: offsets are checked when they are committed."""

    def publish(self, records: Sequence[OutgoingRecord]) -> None:
        """Produce records; blocks until all are acknowledged.

        Raises:
            PublishError: a record was not acknowledged.
        """
        self._publisher.publish(records)

    def commit(self, next_offsets: Mapping[int, int]) -> None:
        """Commit offsets.

        Raises:
            BrokerError: it fails, and not because the group is rebalancing.
        """
        self._committer.commit(next_offsets)

    def settle(self, *, more: bool) -> None:
        """Commit what could not be committed before; `more` makes no difference."""
        self._committer.retry()

    def give_up(self, how: Rebalance) -> None:
        """Commit, for the last time before the partitions go, what could not be before."""
        if how is Rebalance.REVOKED:
            self._committer.retry()

    def close(self) -> None:
        """Wait a while for what is not acknowledged yet."""
        self._producer.flush(_CLOSE_WAIT_S)
