"""Poll: records of the partitions that the group gave us, once their users are in memory."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from schemas.errors import BrokerError
from schemas.kafka_refusals import AUTHORIZATION, told
from worker.metrics import Rebalance

_LOG = logging.getLogger(__name__)

IDLE_WAIT_S = 0.25
"""How long to wait for the first record: bounds how long a request to stop goes unnoticed."""
_MOST_AT_ONCE = 1_000_000
"""Records; the client's limit."""

_HOPELESS = AUTHORIZATION | frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._AUTHENTICATION,
        KafkaError._AUTO_OFFSET_RESET,
        KafkaError._FATAL,  # such as another member with the same group.instance.id
    }
)

AssignmentChanged = Callable[[list[int], Rebalance], None]
"""Called with partitions that came or went, while no micro-batch is under way."""


class Poller:
    """The worker's membership in its consumer group.

    A partition that is assigned is paused until `ready` names it. Records of it that had been
    fetched before the pause are kept back, in order.

    Args:
        consumer: subscribed to `topic` by this object.
        topic: full name of `clickstream`.
        wait_s: longest wait for a micro-batch to fill once it has its first record, seconds.
        changed: told of partitions that come and go.
    """

    def __init__(
        self,
        consumer: Consumer,
        *,
        topic: str,
        wait_s: float,
        changed: AssignmentChanged,
    ) -> None:
        self._consumer = consumer
        self._topic = topic
        self._wait_s = wait_s
        self._changed = changed
        self._ready: set[int] = set()
        self._not_ready: dict[int, list[Message]] = {}
        self._to_pause: set[int] = set()
        self._released: list[Message] = []

    @property
    def partitions(self) -> frozenset[int]:
        """Partitions whose records are being handed out."""
        return frozenset(self._ready)

    def subscribe(self) -> None:
        """Join the group."""
        self._consumer.subscribe(
            [self._topic],
            on_assign=lambda _, partitions: self._assigned(partitions),
            on_revoke=lambda _, partitions: self._gone(partitions, Rebalance.REVOKED),
            on_lost=lambda _, partitions: self._gone(partitions, Rebalance.LOST),
        )

    def poll(
        self,
        most: int,
        wait_s: float = IDLE_WAIT_S,
        within_s: float = math.inf,
        fill_s: float = 0.0,
    ) -> list[Message]:
        """Return the records of the next micro-batch; none if none comes soon.

        Args:
            most: so many at most, besides those kept back.
            wait_s: longest wait for a first record, seconds.
            within_s: longest wait for any record, seconds: something else is due then.
            fill_s: wait for further records, seconds, unless the poller's own is longer.

        Raises:
            BrokerError: the topic cannot be read, now or later.
        """
        first_s = 0.0 if self._released else min(wait_s, within_s)
        messages = self._consume(most, first_s, min(max(self._wait_s, fill_s), within_s))
        self._pause_new()
        usable, self._released = self._released, []
        usable += [message for message in messages if self._is_usable(message)]
        return usable

    def ready(self, partitions: Iterable[int]) -> None:
        """Let records of assigned partitions through from now on."""
        resumed = [partition for partition in partitions if partition in self._not_ready]
        for partition in resumed:
            self._released += self._not_ready.pop(partition)
            self._ready.add(partition)
        self._consumer.resume([TopicPartition(self._topic, partition) for partition in resumed])

    def serve(self) -> frozenset[int]:
        """Serve what the group has to say, at the end; records that come along are dropped.

        Returns:
            `partitions`, as of then.
        """
        self._consumer.consume(_MOST_AT_ONCE, 0.0)
        return self.partitions

    def _consume(self, most: int, idle_wait_s: float, fill_s: float) -> list[Message]:
        first = self._consumer.consume(1, idle_wait_s)
        if not first or most == 1:
            return first
        return first + self._consumer.consume(most - 1, fill_s)

    def _is_usable(self, message: Message) -> bool:
        error = message.error()
        if error is not None:
            self._check(error)
            return False
        partition = message.partition()
        if partition in self._ready:
            return True
        if partition in self._not_ready:
            self._not_ready[partition].append(message)
        return False  # else: fetched before the partition went to another worker

    def _check(self, error: KafkaError) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            return
        if error.fatal() or error.code() in _HOPELESS:
            raise BrokerError(f"{self._topic} cannot be read: {told(error)}")
        _LOG.warning("reading %s: %s", self._topic, error.str())

    def _pause_new(self) -> None:
        if self._to_pause:
            self._consumer.pause([TopicPartition(self._topic, n) for n in self._to_pause])
            self._to_pause.clear()

    def _assigned(self, partitions: list[TopicPartition]) -> None:
        numbers = [partition.partition for partition in partitions]
        for number in numbers:
            self._not_ready[number] = []
        self._to_pause.update(numbers)
        self._changed(numbers, Rebalance.ASSIGNED)

    def _gone(self, partitions: list[TopicPartition], how: Rebalance) -> None:
        numbers = [partition.partition for partition in partitions]
        for number in numbers:
            self._ready.discard(number)
            self._not_ready.pop(number, None)
            self._to_pause.discard(number)
        self._released = [m for m in self._released if m.partition() not in numbers]
        self._changed(numbers, how)
