"""The spans of a traced event, and of the recommendation that answers it."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from opentelemetry.trace import Span, StatusCode

from worker.stages.publish import Headers
from worker.tracing.spans import WorkerSpans

OUTCOME = "innerloop.outcome"
ERROR_TYPE = "error.type"


class TracedOutcome(enum.StrEnum):
    """What became of a traced event."""

    APPLIED = "applied"
    REPEATED = "repeated"
    """It was applied before."""
    BARRED = "barred"
    """Its user asked for that: see `worker.privacy`."""
    NO_CONSENT = "no_consent"
    DEAD_LETTER = "dead_letter"


class EventTrace:
    """A record of `clickstream` that is traced.

    How far it got is told on its way, so that an outcome holds until the next one.

    Args:
        span: of the record.
        partition: that it stands in.
        spans: makes further ones.
    """

    __slots__ = ("__weakref__", "_answer", "_ended", "_span", "_spans", "outcome", "partition")

    def __init__(self, span: Span, partition: int, spans: WorkerSpans) -> None:
        self._span = span
        self._spans = spans
        self._answer: Span | None = None
        self._ended = False
        self.partition = partition
        self.outcome = TracedOutcome.NO_CONSENT

    def refuse(self, reason: str) -> None:
        """Take note that the record cannot be used."""
        self.outcome = TracedOutcome.DEAD_LETTER
        self._span.set_attribute(ERROR_TYPE, reason)
        self._span.set_status(StatusCode.ERROR, "the record cannot be used")

    def wait(self) -> None:
        """Stay open until `answered`, be it with a later micro-batch."""
        self.outcome = TracedOutcome.APPLIED
        self._spans.ending.pop(self, None)

    def answered(self, others: Sequence[EventTrace] = ()) -> Headers:
        """Begin the span of the recommendation; return the headers that carry the trace on.

        Args:
            others: earlier events that the recommendation answers, too.
        """
        links = [other._span.get_span_context() for other in others]
        self._answer = self._spans.answer(self._span, self.partition, links)
        for trace in (*others, self):
            trace.outcome = TracedOutcome.APPLIED
            self._spans.ending[trace] = None
        return self._spans.headers(self._answer)

    def end(self, at_ns: int) -> None:
        """End what is open: the answer is visible, or there is none.

        Args:
            at_ns: when, nanoseconds since the epoch.
        """
        if self._ended:
            return
        self._ended = True
        self._span.set_attribute(OUTCOME, self.outcome.value)
        for span in (self._answer, self._span):
            if span is not None:
                span.end(at_ns)

    def fail(self, why: str, at_ns: int) -> None:
        """End what is open as a failure."""
        if self._ended:
            return
        for span in (self._answer, self._span):
            if span is not None:
                span.set_status(StatusCode.ERROR, why)
        self.end(at_ns)
