"""Commit: store how far topics are processed, and tell how far behind that is."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from schemas.errors import BrokerError
from schemas.kafka_refusals import told
from worker.metrics import WorkerMetrics

_LOG = logging.getLogger(__name__)

_REBALANCING = frozenset(
    {
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError._ASSIGNMENT_LOST,
        KafkaError.STALE_MEMBER_EPOCH,
    }
)


class Committer:
    """Commits offsets of `clickstream`, and with them those of `privacy`, synchronously.

    Args:
        consumer: the member of the worker's group.
        topic: full name of `clickstream`.
        metrics: where failures and lag are counted.
        requests_topic: full name of `privacy`.
    """

    def __init__(
        self, consumer: Consumer, topic: str, metrics: WorkerMetrics, requests_topic: str = ""
    ) -> None:
        self._consumer = consumer
        self._topic = topic
        self._metrics = metrics
        self._requests_topic = requests_topic
        self._pending: dict[tuple[str, int], int] = {}

    def commit(self, next_offsets: Mapping[int, int]) -> None:
        """Commit by partition the offset of the next record to process.

        A commit that fails because the group is rebalancing is counted and left to `retry`. Should
        the partition go to another worker first, that one reads the records again and finds them in
        the users' states.

        Raises:
            BrokerError: it fails for any other reason.
        """
        self._pending |= {(self._topic, n): offset for n, offset in next_offsets.items()}
        self.retry()

    def take_up(self, requests: Mapping[int, int]) -> None:
        """Commit offsets of `privacy`, by partition, together with those of the next `commit`."""
        self._pending |= {(self._requests_topic, n): offset for n, offset in requests.items()}

    def retry(self) -> None:
        """Commit what could not be committed before; see `commit`."""
        if not self._pending:
            return
        offsets = [
            TopicPartition(topic, partition, offset)
            for (topic, partition), offset in self._pending.items()
        ]
        try:
            committed = self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            self._refused(error.args[0])
            return
        failed = [partition.error for partition in committed or () if partition.error is not None]
        if failed:
            self._refused(failed[0])
        else:
            self._pending.clear()

    def report_lag(self, partitions: Iterable[int]) -> int:
        """Set the lag of partitions from what the latest fetch said of their ends; asks nobody.

        Returns:
            Records of all these partitions that wait.
        """
        waiting = 0
        for number in partitions:
            partition = TopicPartition(self._topic, number)
            end = self._consumer.get_watermark_offsets(partition, cached=True)[1]
            position = self._consumer.position([partition])[0].offset
            if end >= 0 and position >= 0:
                lag = max(0, end - position)
                self._metrics.consumer_lag.labels(str(number)).set(lag)
                waiting += lag
        return waiting

    def forget(self, partitions: Iterable[int]) -> None:
        """Have no more to do with partitions that are someone else's now."""
        for number in partitions:
            self._pending.pop((self._topic, number), None)
            self._pending.pop((self._requests_topic, number), None)
            self._metrics.consumer_lag.remove(str(number))

    def _refused(self, error: KafkaError) -> None:
        if error.code() not in _REBALANCING:
            raise BrokerError(f"offsets of {self._topic} cannot be committed: {told(error)}")
        self._metrics.commit_failures.inc()
        _LOG.warning("offsets are to be committed later, the group is rebalancing: %s", error.str())
