"""The parts that make an item memory one of all workers, put together."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from schemas.settings import Settings
from schemas.topics import Topic
from worker.catalogue import Catalogue
from worker.item_sharing.follower import TransitionFollower
from worker.item_sharing.interface import MemorySource
from worker.item_sharing.learning import ItemLearning
from worker.item_sharing.log import TransitionLog
from worker.metrics import WorkerMetrics
from worker.topic_reader import PartitionReader

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class SharedMemory:
    """An item memory and what keeps it level with those of the other workers."""

    learning: ItemLearning
    follower: TransitionFollower

    def start(self, stop: threading.Event) -> None:
        """Make the memory and teach it what all workers learned before. The catalogue is read.

        Raises:
            BrokerError: `item-transitions` cannot be read.
        """
        self.learning.open()
        if self.follower.restore(stop):
            _LOG.info("the item memory is level with the other workers")


def share(
    source: MemorySource,
    reader: PartitionReader,
    catalogue: Catalogue,
    metrics: WorkerMetrics,
    *,
    settings: Settings,
    partitions: int,
    now_ms: Callable[[], int],
) -> SharedMemory:
    """Put the parts together.

    Args:
        source: of the memory.
        reader: of `item-transitions`.
        catalogue: rows of the items.
        metrics: of the memory.
        settings: all of them.
        partitions: how many `clickstream` and `item-transitions` have.
        now_ms: the clock, milliseconds since the epoch.
    """
    log = TransitionLog(reader.topic, partitions, settings.worker.item_memory_events)
    learning = ItemLearning(
        source,
        catalogue,
        log,
        metrics,
        max_future_ms=settings.worker.max_future_seconds * 1000,
        now_ms=now_ms,
    )
    follower = TransitionFollower(
        reader,
        partitions,
        learning=learning,
        log=log,
        metrics=metrics,
        clickstream=settings.kafka.topic(Topic.CLICKSTREAM),
    )
    return SharedMemory(learning, follower)
