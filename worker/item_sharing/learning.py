"""The item memory of a worker: what it learns, from its own users and from those of the others."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from confluent_kafka import Message

from schemas.item_transitions import ItemTransition
from worker.catalogue import Catalogue
from worker.item_memory.transitions import OwnTransitions
from worker.item_sharing.columns import Eligible, of_batch, of_events
from worker.item_sharing.interface import MemorySource, TransitionLearner
from worker.item_sharing.log import TransitionLog
from worker.item_sharing.records import Unusable, read_record
from worker.metrics import TransitionDrop, TransitionRecord, TransitionSource, WorkerMetrics
from worker.rows import NO_ITEM
from worker.stages.decode import NO_TIMESTAMP, EventColumns, record_time
from worker.stages.fold import FoldedBatch
from worker.stages.publish import OutgoingRecord

_LOG = logging.getLogger(__name__)
_WARNINGS_PER_READ = 3


class Learning(Protocol):
    """What the stages of a micro-batch have to do with the item memory."""

    @property
    def learner(self) -> TransitionLearner:
        """What learns; an `ItemMemory` is ranked by, too."""

    def select(self, events: EventColumns, batch: FoldedBatch) -> OwnTransitions:
        """Return what is to be learned from a micro-batch, or a part of one."""


class ItemLearning:
    """Decides what the item memory learns, each event once, and what the other workers are told.

    Args:
        source: of the memory.
        catalogue: rows of the items.
        log: how far each partition is known.
        metrics: of the learning.
        max_future_ms: how far ahead of now an event's time may be.
        now_ms: the clock, milliseconds since the epoch.
    """

    def __init__(
        self,
        source: MemorySource,
        catalogue: Catalogue,
        log: TransitionLog,
        metrics: WorkerMetrics,
        *,
        max_future_ms: int,
        now_ms: Callable[[], int],
    ) -> None:
        self._source = source
        self._catalogue = catalogue
        self._log = log
        self._metrics = metrics
        self._max_future_ms = max_future_ms
        self._now_ms = now_ms
        self._learner: TransitionLearner | None = None
        self._selected: list[tuple[int, ItemTransition]] = []
        """Partition and transition of each event of the micro-batch that is not in the log yet."""

    @property
    def learner(self) -> TransitionLearner:
        """The memory, once `open` was called."""
        assert self._learner is not None, "the item memory is not open"
        return self._learner

    def open(self) -> None:
        """Make the memory. To be called once, when the catalogue is read."""
        learner = self._learner = self._source.open(self._catalogue)
        self._catalogue.on_removal(learner.forget_row)

    def select(self, events: EventColumns, batch: FoldedBatch) -> OwnTransitions:
        """Return what is to be learned from a micro-batch, or a part of one, and keep it.

        The parts of a micro-batch may come in any order; `records` ends it. Left out is what is
        known from `item-transitions`: the batch may be processed again after a crash. Whoever calls
        this teaches `learner` what is `chosen`, in order.
        """
        transitions = of_batch(events, batch, self._catalogue.removed_rows)
        learns = transitions.items != NO_ITEM
        eligible = self._eligible()
        dropped: Counter[TransitionDrop] = Counter()
        on_item = np.flatnonzero(learns)
        before = transitions.before[on_item].tolist()
        for position, rows in zip(on_item.tolist(), before, strict=True):
            source = int(batch.source[position])
            reason = self._take_up(events, source, rows) or eligible.drop(events.times[source])
            if reason is not None:
                learns[position] = False
                dropped[reason] += 1
        self._count(TransitionSource.OWN, int(learns.sum()), dropped)
        return OwnTransitions(transitions, learns)

    def records(self) -> list[OutgoingRecord]:
        """Return the records that tell the other workers of all that `select` kept since."""
        selected, self._selected = self._selected, []
        # The log takes the offsets of a partition in order.
        for partition, transition in sorted(selected, key=lambda one: (one[0], one[1].offset)):
            self._log.add(partition, transition)
        records = self._log.records()
        size = sum(len(record.key or b"") + len(record.value or b"") for record in records)
        self._metrics.item_transitions_bytes.inc(size)
        return records

    def follow(self, messages: Sequence[Message], source: TransitionSource) -> None:
        """Learn what records of `item-transitions` hold and is not known yet.

        A record that cannot be used is counted, logged without its content and otherwise ignored.
        """
        results: Counter[TransitionRecord] = Counter()
        problems: list[str] = []
        new: list[ItemTransition] = []
        for message in messages:
            record = read_record(message)
            if isinstance(record, Unusable):
                results[record.result] += 1
                problems.append(f"offset {message.offset()}: {record.text}")
                continue
            found = self._log.merge(record)
            results[TransitionRecord.NEW if found else TransitionRecord.KNOWN] += 1
            new += found
            if found and source is TransitionSource.FOLLOWED:
                self._observe_delay(message)
        transitions, dropped = of_events(new, self._catalogue, self._eligible())
        if len(transitions):
            self.learner.learn(
                transitions.items, transitions.before, transitions.types, transitions.times
            )
        self._count(source, len(transitions), dropped)
        self._report(results, problems)

    def _take_up(
        self, events: EventColumns, source: int, before: list[int]
    ) -> TransitionDrop | None:
        """Keep an event for the log, unless it is known there."""
        partition, offset = events.partitions[source], events.offsets[source]
        if offset <= self._log.last_offset(partition):
            return TransitionDrop.KNOWN
        item_id = events.item_ids[source]
        assert item_id is not None  # it has a row
        ids = self._catalogue.item_ids
        transition = ItemTransition(
            offset=offset,
            item_id=item_id,
            type=events.types[source],
            time=events.times[source],
            before=[ids[row] for row in before if row != NO_ITEM],
        )
        self._selected.append((partition, transition))
        return None

    def _eligible(self) -> Eligible:
        return Eligible(self._source.since_ms, self._now_ms() + self._max_future_ms)

    def _observe_delay(self, message: Message) -> None:
        produced = record_time(message)
        if produced != NO_TIMESTAMP:
            delay = max(0, self._now_ms() - produced) / 1000.0
            self._metrics.item_transitions_delay_seconds.observe(delay)

    def _count(
        self, source: TransitionSource, learned: int, dropped: Counter[TransitionDrop]
    ) -> None:
        self._metrics.item_transitions.labels(source.value).inc(learned)
        for reason, count in dropped.items():
            self._metrics.item_transitions_dropped.labels(reason.value).inc(count)

    def _report(self, results: Counter[TransitionRecord], problems: list[str]) -> None:
        for result, count in results.items():
            self._metrics.item_transition_records.labels(result.value).inc(count)
        for problem in problems[:_WARNINGS_PER_READ]:
            _LOG.warning("a record of item transitions cannot be used: %s", problem)
        if len(problems) > _WARNINGS_PER_READ:
            _LOG.warning("%d more like it", len(problems) - _WARNINGS_PER_READ)
