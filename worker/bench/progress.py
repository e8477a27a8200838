"""How far a worker's group has come."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Self

from confluent_kafka import Consumer, TopicPartition

from schemas.errors import BenchError
from worker.bench.stand import Stand
from worker.demo.children import Child

_STEP_S = 0.02


class Progress:
    """How many records of `clickstream` a worker's group has committed, asked of the broker.

    A context manager.

    Args:
        stand: of the topic and the group.
    """

    def __init__(self, stand: Stand) -> None:
        settings = stand.settings
        config = settings.kafka.consumer_config(settings.worker.group_id)
        self._consumer = Consumer(config, logger=logging.getLogger("librdkafka"))
        self._partitions = [
            TopicPartition(stand.clickstream, number) for number in range(stand.partitions)
        ]

    def committed(self) -> int:
        """Return the number of records committed so far, over all partitions."""
        found = self._consumer.committed(self._partitions, timeout=30)
        return sum(max(0, partition.offset) for partition in found)

    def wait_for(self, count: int, children: Sequence[Child], within_s: float) -> tuple[float, int]:
        """Wait until so many are committed; return the moment on the monotonic clock, and how many.

        Raises:
            DemoError: a process ends before.
            BenchError: it takes longer.
        """
        deadline = time.monotonic() + within_s
        while (done := self.committed()) < count:
            for child in children:
                child.check()
            if time.monotonic() > deadline:
                raise BenchError(f"{done:,} of {count:,} events were processed in {within_s:g} s")
            time.sleep(_STEP_S)
        return time.monotonic(), done

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()
