"""Which records of a micro-batch are traced, and their spans until they are answered."""

from __future__ import annotations

import random
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace

from confluent_kafka import Message
from opentelemetry.trace import Span, StatusCode, Tracer

from schemas.settings import Settings
from schemas.trace_context import TraceContext, says_unsampled, trace_context, traceparent_of
from worker.metrics import Stage, TracedRecord, WorkerMetrics
from worker.stages.decode import DeadLetter, EventColumns, header_list, position
from worker.tracing.event_trace import EventTrace, TracedOutcome
from worker.tracing.spans import WorkerSpans

_NOT_DELIVERED = "the worker stopped before this was delivered"


class TracedBatch:
    """A micro-batch, and the records in it that are traced."""

    def __init__(self) -> None:
        self.span: Span | None = None
        """None where no record of it is traced."""
        self.traces: dict[tuple[int, int], EventTrace] = {}
        """By partition and offset."""
        self.ending: dict[EventTrace, None] = {}
        """Those that end with it, from this micro-batch or an earlier one."""
        self._ended = False

    def mark(self, events: EventColumns, dead_letters: Sequence[DeadLetter]) -> EventColumns:
        """Return the events with their traces; take note of the records that are none."""
        if not self.traces:
            return events
        for letter in dead_letters:
            trace = self.traces.get(position(letter.message))
            if trace is not None:
                trace.refuse(letter.reason.value)
        places = zip(events.partitions, events.offsets, strict=True)
        marked = replace(events, traces=[self.traces.get(place) for place in places])
        _set_outcome(marked, TracedOutcome.BARRED)
        return marked

    def admitted(self, events: EventColumns) -> None:
        """Take note of the events that may be used."""
        _set_outcome(events, TracedOutcome.REPEATED)

    def visible(self) -> None:
        """End its spans: subscribers can see its answers."""
        now = time.time_ns()
        for trace in self.ending:
            trace.end(now)
        if self.span is not None and not self._ended:
            self._ended = True
            self.span.end(now)

    def fail(self, why: str, at_ns: int) -> None:
        """End its own span as a failure, if it is open."""
        if self.span is not None and not self._ended:
            self._ended = True
            self.span.set_status(StatusCode.ERROR, why)
            self.span.end(at_ns)


class Tracing:
    """Traces records of `clickstream`, micro-batch by micro-batch.

    A record is traced if its `traceparent` says that its trace is sampled, or by chance if it has
    none. Of all others only the headers are looked at.

    Args:
        tracer: makes spans; samples whatever it is asked for.
        settings: all of them.
        metrics: of what is traced; it tells the times of the stages.
        clock: seconds, never set back, as of `time.perf_counter`.
        chance: gives numbers of [0, 1).
    """

    def __init__(
        self,
        tracer: Tracer,
        settings: Settings,
        metrics: WorkerMetrics,
        *,
        clock: Callable[[], float] = time.perf_counter,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._spans = WorkerSpans(tracer, settings)
        self._ratio = settings.tracing.sample_ratio
        self._limit = _PerSecond(settings.tracing.events_per_second, clock)
        self._metrics = metrics
        self._clock = clock
        self._chance = chance
        self._stages: list[tuple[Stage, float, float]] = []
        """Of the micro-batch under way, with the times when they began and ended."""
        self._epoch_ns = 0
        """When the clock stood at 0, nanoseconds since the epoch."""
        self._open: weakref.WeakSet[EventTrace | TracedBatch] = weakref.WeakSet()
        metrics.on_stage = self._note_stage

    def begin(self, messages: Sequence[Message]) -> TracedBatch:
        """Begin the spans of the records that are traced.

        Args:
            messages: the records of a micro-batch, in order.
        """
        batch = TracedBatch()
        self._spans.ending = batch.ending
        self._epoch_ns = time.time_ns() - int(self._clock() * 1e9)
        for message in messages:
            headers = header_list(message)
            traceparent = traceparent_of(headers) if headers else None
            if traceparent is not None and says_unsampled(traceparent):
                continue
            created = None if traceparent is None else trace_context(headers)
            if traceparent is not None and created is None:
                self._count(TracedRecord.MALFORMED)
            if created is None and not (self._ratio and self._chance() < self._ratio):
                continue
            if self._limit.take():
                self._trace(batch, message, created, len(messages))
            else:
                self._count(TracedRecord.LIMITED)
        return batch

    def processed(self, batch: TracedBatch) -> None:
        """Make the spans of a micro-batch's stages, now that they are over."""
        stages, self._stages = self._stages, []
        if batch.span is not None:
            for stage, begun, ended in stages:
                self._spans.stage(batch.span, stage, self._at_ns(begun), self._at_ns(ended))

    def abandon(self) -> None:
        """End all spans that are open as failures: what they stand for does not become visible."""
        now = time.time_ns()
        for one in list(self._open):
            one.fail(_NOT_DELIVERED, now)

    def _trace(
        self, batch: TracedBatch, message: Message, created: TraceContext | None, records: int
    ) -> None:
        self._count(TracedRecord.TRACED)
        begun, read = self._stages[0][1:] if self._stages else (self._clock(),) * 2
        if batch.span is None:
            batch.span = self._spans.micro_batch(records, self._at_ns(begun))
            self._open.add(batch)
        place = position(message)
        span = self._spans.event(batch.span, created, place, self._at_ns(read))
        trace = batch.traces[place] = EventTrace(span, place[0], self._spans)
        batch.ending[trace] = None
        self._open.add(trace)

    def _note_stage(self, stage: Stage, begun: float, ended: float) -> None:
        if stage is Stage.POLL:
            self._stages = []  # those of a micro-batch that failed
        if stage is not Stage.COMMIT:  # may be of several micro-batches, or of an earlier one
            self._stages.append((stage, begun, ended))

    def _at_ns(self, at: float) -> int:
        return self._epoch_ns + int(at * 1e9)

    def _count(self, what: TracedRecord) -> None:
        self._metrics.traced_records.labels(what.value).inc()


class _PerSecond:
    """Lets so many through in a second.

    Args:
        most: of them.
        clock: seconds, never set back.
    """

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self._most = most
        self._clock = clock
        self._since = -1.0
        self._taken = 0

    def take(self) -> bool:
        """Return whether one more may go through."""
        now = self._clock()
        if now - self._since >= 1.0:
            self._since, self._taken = now, 0
        self._taken += 1
        return self._taken <= self._most


def _set_outcome(events: EventColumns, outcome: TracedOutcome) -> None:
    for trace in events.traces:
        if trace is not None:
            trace.outcome = outcome
