"""Reading a topic from its beginning to the end that it has now."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from confluent_kafka import Message

from schemas.errors import BrokerError
from schemas.settings import Settings
from schemas.topics import Topic
from worker.clients import make_reader
from worker.kafka_connection import REACH_TIMEOUT_S, missing_topic
from worker.stages.decode import position
from worker.topic_reader import PartitionReader

_CHUNK = 4096
_WAIT_S = 0.1
_FETCH_WAIT_MS = 100
_STALLED_S = 60.0


class TopicSpan:
    """What a topic holds at the moment of construction, to be read once. Joins no group.

    Args:
        settings: all of them.
        topic: which.
        replicas: the topics that the brokers have, as of `worker.kafka_connection.connect`.

    Raises:
        BrokerError: the topic does not exist, or the brokers do not tell its offsets.
    """

    def __init__(self, settings: Settings, topic: Topic, replicas: Mapping[str, list[int]]) -> None:
        self.name = settings.kafka.topic(topic)
        if self.name not in replicas:
            raise missing_topic(self.name)
        self._reader: PartitionReader = make_reader(settings, topic, _FETCH_WAIT_MS)
        try:
            self._offsets = {
                number: self._reader.offsets(self.name, number, REACH_TIMEOUT_S)
                for number in range(len(replicas[self.name]))
            }
        except BrokerError:
            self.close()
            raise

    def read(
        self,
        take: Callable[[list[Message]], None],
        on_phase: Callable[[str, int], None],
        on_step: Callable[[int], None],
    ) -> None:
        """Hand over all records, each partition's in order.

        Raises:
            BrokerError: the topic cannot be read, or nothing comes for a minute.
        """
        on_phase(f"reading {self.name}", sum(map(len, self._offsets.values())))
        # By partition, the offsets still to be read.
        left = {number: offsets for number, offsets in self._offsets.items() if offsets}
        self._reader.add(left)
        moved = time.monotonic()
        while left:
            take([m for m in self._reader.read(_CHUNK, _WAIT_S) if self._holds(m)])
            steps = self._advance(left)
            if steps:
                on_step(steps)
                moved = time.monotonic()
            elif time.monotonic() - moved > _STALLED_S:
                raise BrokerError(
                    f"topic {self.name} cannot be read to its end: nothing came for"
                    f" {_STALLED_S:g} s, {sum(map(len, left.values())):,} offsets are left"
                )

    @property
    def offsets(self) -> dict[int, range]:
        """By partition the offsets that `read` reads."""
        return dict(self._offsets)

    def close(self) -> None:
        """Close the reader."""
        self._reader.close()

    def _holds(self, message: Message) -> bool:
        partition, offset = position(message)
        return offset < self._offsets[partition].stop

    def _advance(self, left: dict[int, range]) -> int:
        """Take what the reader has read off `left`; return how many offsets that was."""
        before = sum(map(len, left.values()))
        for number, offsets in list(left.items()):
            # A position past the end tells the same: offsets may hold no record (compaction).
            left[number] = offsets[max(0, self._reader.position(number) - offsets.start) :]
        after = sum(map(len, left.values()))
        done = [number for number, offsets in left.items() if not offsets]
        self._reader.remove(done)
        for number in done:
            del left[number]
        return before - after
