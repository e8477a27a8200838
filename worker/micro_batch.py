"""One micro-batch from records to committed offsets, in the order that makes a crash harmless.

1. Recommendations and dead letters are published and acknowledged.
2. Then what the item memory learned, if there is one.
3. Then the changed users' states, each with the partition and offset of its last event.
4. Then the offsets are committed.

With transactions these four are one (`worker.delivery.exactly_once`). Without:

Killed before 3 is acknowledged for a user, the worker reads the user's records again, starts from
the state before them and repeats its answers under the same ids. Killed after it, the offset in the
state tells that the records were applied, and they are skipped. So an event in a state is in the
item transitions; one that is in them and in no state yet is applied to its user again, but not
taught the item memory again, for its offset tells that it is known.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Protocol

import numpy as np
from confluent_kafka import Message
from numpy.typing import NDArray

from worker.item_sharing.learning import ItemLearning
from worker.metrics import Outcome, Stage, WorkerMetrics
from worker.outputs import RecommendationWriter, dead_letter_record
from worker.pipeline import Answers, Pipeline
from worker.stages.dead_letter_limits import DeadLetterLimits
from worker.stages.decode import NO_TIMESTAMP, Decoded, Decoder, position
from worker.stages.publish import OutgoingRecord
from worker.state.arena import UserArena
from worker.state.records import StateRecords


def wall_clock_ms() -> int:
    """Return the time, milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class RecordSink(Protocol):
    """Where records go: see `worker.delivery`."""

    def publish(self, records: Sequence[OutgoingRecord]) -> None:
        """Produce records; raise when one is not acknowledged, now or at the commit."""
        ...


class OffsetSink(Protocol):
    """Where offsets go: see `worker.delivery`."""

    def commit(self, next_offsets: Mapping[int, int]) -> None:
        """Commit by partition the offset of the next record to process."""
        ...


class BatchProcessor:
    """Processes micro-batches.

    Args:
        decoder: stage decode.
        pipeline: the stages fold, encode, adapt and rank.
        writer: makes recommendations of the answers.
        records: stage publish.
        offsets: stage commit.
        arena: the users, for their state records.
        metrics: of the batch.
        states: makes records of users.
        state_topic: full name of `user-state`.
        dead_letter_topic: full name of `clickstream.dlq`.
        item_learning: of the item memory; None if there is none.
        limits: stop a flood of dead letters.
        visible_when_published: whether subscribers see a record once `records` took it; if not,
            whoever commits calls `visible`.
        now_ms: the clock, milliseconds since the epoch.
    """

    def __init__(
        self,
        *,
        decoder: Decoder,
        pipeline: Pipeline,
        writer: RecommendationWriter,
        records: RecordSink,
        offsets: OffsetSink,
        arena: UserArena,
        metrics: WorkerMetrics,
        states: StateRecords,
        state_topic: str,
        dead_letter_topic: str,
        item_learning: ItemLearning | None = None,
        limits: DeadLetterLimits | None = None,
        visible_when_published: bool = True,
        now_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self._decoder = decoder
        self._pipeline = pipeline
        self._writer = writer
        self._records = records
        self._offsets = offsets
        self._arena = arena
        self._metrics = metrics
        self._states = states
        self._state_topic = state_topic
        self._dead_letter_topic = dead_letter_topic
        self._item_learning = item_learning
        self._limits = limits
        self._visible_when_published = visible_when_published
        self._now_ms = now_ms
        self._answered: list[NDArray[np.int64]] = []
        """Timestamps of records whose answers are not visible yet, an array a micro-batch."""

    def process(self, messages: Sequence[Message]) -> None:
        """Process records of `clickstream`, in the order given.

        Raises:
            PublishError: an output was not acknowledged; nothing is committed.
            BrokerError: the offsets could not be committed.
            DeadLetterFloodError: too many records are unusable; nothing of these is published.
        """
        metrics = self._metrics
        metrics.batch_records.observe(len(messages))
        with metrics.time(Stage.DECODE):
            decoded = self._decoder.decode(messages)
        if self._limits is not None:
            self._limits.check(messages, decoded.dead_letters)
        answers = self._pipeline.process(decoded.events)
        with metrics.time(Stage.PUBLISH):
            self._publish(decoded, answers)
        # A transaction takes its own time for this, when it is at an end.
        with metrics.time(Stage.COMMIT) if self._visible_when_published else nullcontext():
            self._offsets.commit(next_offsets(messages))

    def visible(self) -> None:
        """Take note that subscribers can see all that was published up to now."""
        answered, self._answered = self._answered, []
        now = self._now_ms()
        for times in answered:
            ages = now - times[times != NO_TIMESTAMP]
            self._metrics.latency_seconds.observe_many(np.maximum(ages, 0) / 1000.0)

    def _publish(self, decoded: Decoded, answers: Answers) -> None:
        dead = [
            dead_letter_record(letter, self._dead_letter_topic) for letter in decoded.dead_letters
        ]
        self._records.publish([*self._writer.records(answers), *dead])
        self._count(decoded, answers)
        if self._visible_when_published:
            self.visible()
        if self._item_learning is not None:
            self._records.publish(self._item_learning.records())
        self._records.publish(self._state_records(answers))

    def _state_records(self, answers: Answers) -> list[OutgoingRecord]:
        arena, slots = self._arena, answers.changed_slots()
        partitions = arena.columns.partition[slots].tolist()
        values = self._states.encode(slots)
        changed = [
            OutgoingRecord(self._state_topic, partition, arena.user_id(slot).encode(), value)
            for slot, partition, value in zip(slots.tolist(), partitions, values, strict=True)
        ]
        forgotten = [
            OutgoingRecord(self._state_topic, partition, user_id.encode(), None)
            for user_id, partition in self._pipeline.forget_idle(len(answers.batch))
        ]
        return changed + forgotten

    def _count(self, decoded: Decoded, answers: Answers) -> None:
        metrics = self._metrics
        times = np.asarray(decoded.events.record_times, np.int64)
        self._answered.append(times[answers.batch.source])
        for letter in decoded.dead_letters:
            metrics.dead_letters.labels(letter.reason.value).inc()
        for outcome, count in (
            (Outcome.DEAD_LETTER, len(decoded.dead_letters)),
            (Outcome.NO_CONSENT, decoded.without_consent),
        ):
            metrics.records.labels(outcome.value).inc(count)


def next_offsets(messages: Sequence[Message]) -> dict[int, int]:
    """Return by partition the offset after the last of these records."""
    offsets: dict[int, int] = {}
    for message in messages:
        partition, offset = position(message)
        offsets[partition] = offset + 1
    return offsets
