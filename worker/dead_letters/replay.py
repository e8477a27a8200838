"""Putting dead letters back to where they came from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from confluent_kafka import Message

from schemas.dead_letter import ReplayHeader
from schemas.errors import BrokerError
from schemas.settings import Settings
from schemas.topics import Topic
from worker.clients import make_producer
from worker.dead_letters.records import (
    Selection,
    StoredDeadLetter,
    offsets_note,
    read_dead_letter,
    replayed_offsets,
)
from worker.kafka_connection import connect
from worker.stages.publish import OutgoingRecord, Publisher
from worker.topic_span import TopicSpan

_CHUNK = 500
"""Records put back before it is noted that they were."""

Progress = Callable[[str, int], None]
Step = Callable[[int], None]


@dataclass
class Replayed:
    """What became of the dead letters that were meant."""

    by_reason: Counter[str] = field(default_factory=Counter)
    """Those put back; in a dry run those that would be."""
    before: int = 0
    """Left alone: they were put back by an earlier replay."""
    without_value: int = 0
    """Left alone: their value was too large for the dead-letter topic and is not there."""

    @property
    def count(self) -> int:
        """How many were put back."""
        return sum(self.by_reason.values())


def replay(
    settings: Settings,
    selection: Selection,
    *,
    dry_run: bool = False,
    again: bool = False,
    most: int | None = None,
    on_phase: Progress = lambda name, total: None,
    on_step: Step = lambda steps: None,
) -> Replayed:
    """Publish dead letters again: original key, value and headers, to the source topic.

    What is put back is noted in the dead-letter topic, by partition and offset. Killed, a replay
    may have put back up to 500 records without noting it; the worker drops events that it knows.

    Args:
        settings: all of them.
        selection: which are meant.
        dry_run: only count.
        again: also those that an earlier replay put back.
        most: at most so many, the first of each partition first; None for all.
        on_phase: told the topic and how many offsets there are to read, twice.
        on_step: told how many offsets more are read.

    Raises:
        BrokerError: the brokers cannot be reached, a topic cannot be read, or a source topic does
            not exist.
        PublishError: a record was not acknowledged.
    """
    replicas = connect(settings.kafka).replicas
    span = TopicSpan(settings, Topic.DEAD_LETTERS, replicas)
    try:
        done: defaultdict[int, set[int]] = defaultdict(set)

        def take(messages: list[Message]) -> None:
            for message in messages:
                done[message.partition() or 0] |= replayed_offsets(message)

        span.read(take, on_phase, on_step)
    finally:
        span.close()
    run = _Run(settings, selection, {} if again else done, replicas, most, dry_run=dry_run)
    span = TopicSpan(settings, Topic.DEAD_LETTERS, replicas)
    try:
        span.read(run.take, on_phase, on_step)
        run.flush()
    finally:
        span.close()
    return run.result


class _Run:
    def __init__(
        self,
        settings: Settings,
        selection: Selection,
        done: Mapping[int, set[int]],
        replicas: Mapping[str, list[int]],
        most: int | None,
        *,
        dry_run: bool,
    ) -> None:
        self._topic = settings.kafka.topic(Topic.DEAD_LETTERS)
        self._selection = selection
        self._done = done
        self._replicas = replicas
        self._most = most
        self._publisher = None if dry_run else Publisher(make_producer(settings))
        self._chunk: list[StoredDeadLetter] = []
        self.result = Replayed()

    def take(self, messages: list[Message]) -> None:
        """Put back what is meant."""
        for message in messages:
            letter = read_dead_letter(message)
            if letter is not None and self._selection.holds(letter) and self._is_due(letter):
                self.result.by_reason[letter.reason] += 1
                self._chunk.append(letter)
                if len(self._chunk) == _CHUNK:
                    self.flush()

    def flush(self) -> None:
        """Publish the chunk, then the note of it."""
        chunk, self._chunk = self._chunk, []
        if self._publisher is None or not chunk:
            return
        self._publisher.publish([self._original(letter) for letter in chunk])
        offsets: defaultdict[int, list[int]] = defaultdict(list)
        for letter in chunk:
            offsets[letter.partition].append(letter.offset)
        self._publisher.publish(
            [
                OutgoingRecord(self._topic, partition, None, None, list(offsets_note(numbers)))
                for partition, numbers in offsets.items()
            ]
        )

    def _is_due(self, letter: StoredDeadLetter) -> bool:
        if letter.offset in self._done.get(letter.partition, ()):
            self.result.before += 1
            return False
        if letter.lost_its_value:
            self.result.without_value += 1
            return False
        return self._most is None or self.result.count < self._most

    def _original(self, letter: StoredDeadLetter) -> OutgoingRecord:
        topic = letter.source_topic
        if topic not in self._replicas:
            raise BrokerError(
                f"dead letter {letter.partition}/{letter.offset} comes from topic {topic}, which "
                "does not exist"
            )
        partition = letter.source_partition
        if partition is None or partition >= len(self._replicas[topic]):
            partition = letter.partition % len(self._replicas[topic])
        origin = f"{letter.partition}/{letter.offset}".encode()
        headers = [*letter.headers, (ReplayHeader.FROM.value, origin)]
        return OutgoingRecord(topic, partition, letter.key, letter.value, list(headers))
