"""One micro-batch from records to committed offsets, in the order that makes a crash harmless.

0. What users asked for about their own data is carried out in memory (`worker.privacy`).
1. Null values for users erased, recommendations and dead letters are published and acknowledged.
2. Then what the item memory learned, if there is one.
3. Then the changed users' states, each with the partition and offset of its last event, and at
   last the audit records of 0.
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
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from confluent_kafka import Message
from numpy.typing import NDArray

from worker.coalescing.held_back import HeldBack
from worker.coalescing.owed import Owed
from worker.item_sharing.learning import ItemLearning
from worker.metrics import Outcome, Stage, WorkerMetrics
from worker.outputs import dead_letter_record
from worker.privacy.carried_out import CarriedOut
from worker.stages.dead_letter_limits import DeadLetterLimits
from worker.stages.decode import (
    NO_TIMESTAMP,
    DeadLetter,
    Decoded,
    Decoder,
    EventColumns,
    position,
)
from worker.stages.publish import OutgoingRecord, joined

if TYPE_CHECKING:
    from worker.tracing.micro_batches import TracedBatch, Tracing

_NOTHING = CarriedOut()


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

    def take_up(self, requests: Mapping[int, int]) -> None:
        """Take up offsets of `privacy`, by partition, to be committed with the next ones."""
        ...

    def commit(self, next_offsets: Mapping[int, int]) -> None:
        """Commit by partition the offset of the next record to process."""
        ...


class Answered(Protocol):
    """What is to be said to a micro-batch."""

    @property
    def applied(self) -> int:
        """How many events were applied."""

    def record_times(self) -> NDArray[np.int64]:
        """Return the timestamps of the records of the events that are answered."""

    def recommendations(self) -> Sequence[OutgoingRecord]:
        """Return a record for each list, a user's in order; each event answered is in one."""

    def states(self) -> Sequence[OutgoingRecord]:
        """Return the states of the users answered."""


class Answering(Protocol):
    """Who answers events: one model (`worker.arm`), or more (`worker.rollout.arms`)."""

    def process(self, events: EventColumns) -> Answered:
        """Apply events to their users and rank for them."""

    def forget_idle(self, events: int) -> Sequence[OutgoingRecord]:
        """Forget users who were idle for too long; return the records that erase their states.

        Args:
            events: of the micro-batch; few users are looked at after a small one.
        """


class Privacy(Protocol):
    """What users ask for about their own data: `worker.privacy.stage`."""

    def carry_out(self) -> CarriedOut:
        """Carry out the requests that were read, in memory and in the store."""

    def admit(self, events: EventColumns) -> EventColumns:
        """Return the events that may be used, and count the others."""


class BatchProcessor:
    """Processes micro-batches.

    Args:
        decoder: stage decode.
        answering: the stages from fold to rank, and the records of the answers.
        records: stage publish.
        offsets: stage commit.
        metrics: of the batch.
        dead_letter_topic: full name of `clickstream.dlq`.
        item_learning: of the item memory; None if there is none.
        limits: stop a flood of dead letters.
        owed: whom `answering` owes an answer; None if it answers each event at once.
        privacy: carries out what users ask for; None if nobody can ask.
        tracing: of the records; None if none is to be traced.
        now_ms: the clock, milliseconds since the epoch.
    """

    def __init__(
        self,
        *,
        decoder: Decoder,
        answering: Answering,
        records: RecordSink,
        offsets: OffsetSink,
        metrics: WorkerMetrics,
        dead_letter_topic: str,
        item_learning: ItemLearning | None = None,
        limits: DeadLetterLimits | None = None,
        owed: Owed | None = None,
        privacy: Privacy | None = None,
        tracing: Tracing | None = None,
        now_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self._decoder = decoder
        self._answering = answering
        self._records = records
        self._offsets = offsets
        self._metrics = metrics
        self._dead_letter_topic = dead_letter_topic
        self._item_learning = item_learning
        self._limits = limits
        self._owed = owed
        self._privacy = privacy
        self._tracing = tracing
        self._held_back = None if owed is None else HeldBack(owed)
        self._now_ms = now_ms
        self._answered: deque[tuple[NDArray[np.int64], TracedBatch | None]] = deque()
        """Of micro-batches whose answers are not visible yet: timestamps of the records answered,
        and those that are traced."""

    def process(self, messages: Sequence[Message]) -> None:
        """Process records of `clickstream`, in the order given, and give the answers that are due.

        Args:
            messages: the records; none where only answers are due.

        Raises:
            PublishError: an output was not acknowledged; nothing is committed.
            BrokerError: the offsets could not be committed.
            DeadLetterFloodError: too many records are unusable; nothing of these is published.
        """
        metrics = self._metrics
        if messages:
            metrics.batch_records.observe(len(messages))
        with metrics.time(Stage.DECODE):
            decoded = self._decoder.decode(messages)
            traced = None if self._tracing is None else self._tracing.begin(messages)
        done, events = _NOTHING, decoded.events
        if traced is not None:
            events = traced.mark(events, decoded.dead_letters)
        if self._limits is not None:
            self._limits.check(messages, decoded.dead_letters)
        if self._privacy is not None:
            done = self._privacy.carry_out()
            events = self._privacy.admit(events)
        if traced is not None:
            traced.admitted(events)
        answers = self._answering.process(events)
        with metrics.time(Stage.PUBLISH):
            offsets, letters = next_offsets(messages), decoded.dead_letters
            if self._held_back is not None:
                self._held_back.take_up(offsets, letters)
                offsets, letters = self._held_back.release()
            self._answered.append((answers.record_times(), traced))
            self._count(decoded, letters)
            self._publish(answers, letters, done)
            if done.next_offsets:
                self._offsets.take_up(done.next_offsets)
            self._offsets.commit(offsets)
        if self._tracing is not None and traced is not None:
            self._tracing.processed(traced)

    def release_partitions(self, partitions: Sequence[int]) -> None:
        """Have no more to do with partitions that are someone else's."""
        if self._held_back is not None:
            self._held_back.release_partitions(partitions)

    def visible(self, batches: int) -> None:
        """Take note that subscribers can see the answers of so many more micro-batches."""
        now = self._now_ms()
        for _ in range(batches):
            times, traced = self._answered.popleft()
            if traced is not None:
                traced.visible()
            ages = now - times[times != NO_TIMESTAMP]
            self._metrics.latency_seconds.observe_many(np.maximum(ages, 0) / 1000.0)

    def _publish(self, answers: Answered, letters: Sequence[DeadLetter], done: CarriedOut) -> None:
        dead = [dead_letter_record(letter, self._dead_letter_topic) for letter in letters]
        recommendations = answers.recommendations()
        if self._owed is not None:
            self._owed.published()
        # A user erased may have come back within this very micro-batch: null values come first.
        self._records.publish(joined(done.tombstones, recommendations, dead))
        if self._item_learning is not None:
            self._records.publish(self._item_learning.records())
        states = answers.states()  # before any of their users is forgotten
        forgotten = self._answering.forget_idle(answers.applied)
        self._records.publish(joined(states, forgotten))
        if done.audit:
            self._records.publish(done.audit)

    def _count(self, decoded: Decoded, published: Sequence[DeadLetter]) -> None:
        metrics = self._metrics
        for letter in published:
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
