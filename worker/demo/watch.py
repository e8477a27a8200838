"""Watches the replay until every event is answered."""

from __future__ import annotations

import time
from collections.abc import Callable

from schemas.errors import DemoError
from worker.demo.children import Child
from worker.demo.frame import Frame, RecentPast
from worker.demo.plan import metrics_url
from worker.demo.scrape import WorkerSample, fetch, parse
from worker.demo.subscriber import Subscriber
from worker.demo.visitors import Example, Visitors

READY_WITHIN_S = 300.0
"""How long the worker gets to load the bundle and the catalogue, seconds."""

STALLED_AFTER_S = 60.0
"""Without an answer for so long while events wait, the demo gives up, seconds."""

MOST_UNANSWERED = 40_000
"""The embedded broker keeps about 4.7 MB of each of its 4 partitions: some 70,000 of the demo's
events. The replay is stopped well before it would push out events that nobody has read."""

_TICK_S = 0.2
_METRICS_EVERY_S = 0.5
_EXAMPLE_EVERY_S = 4.0


class Watch:
    """Puts together what broker, worker and subscriber say.

    Args:
        worker: the worker's process.
        metrics_port: of the worker.
        lasting: processes that must run all the while, the worker among them.
        stalled_after_s: patience with a worker that does not answer, seconds.
    """

    def __init__(
        self,
        worker: Child,
        metrics_port: int,
        lasting: list[Child],
        stalled_after_s: float = STALLED_AFTER_S,
    ) -> None:
        self.cut_short = False
        """Whether the replay was stopped because the worker fell too far behind."""
        self._worker = worker
        self._url = metrics_url(metrics_port)
        self._lasting = lasting
        self._stalled_after_s = stalled_after_s
        self._recent = RecentPast()
        self._latest = WorkerSample.nothing()
        self._example: Example | None = None
        self._example_until = 0.0

    def wait_until_ready(self, partitions: int) -> WorkerSample:
        """Wait until the worker has read the catalogue and all partitions' states.

        Raises:
            DemoError: it ends, or is not ready in time.
        """
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            self._check()
            sample = self._sample()
            if sample.partitions >= partitions and sample.restored >= partitions:
                return sample
            time.sleep(_TICK_S)
        tail = self._worker.tail()
        raise DemoError(f"the worker is not ready after {READY_WITHIN_S:g} s{tail}")

    def follow(
        self,
        replay: Child,
        expected: int,
        subscriber: Subscriber,
        visitors: Visitors,
        show: Callable[[Frame], None],
    ) -> Frame:
        """Show what goes on until all that was replayed is answered; return the last moment.

        Args:
            replay: the replay's process.
            expected: events that it is to publish.
            subscriber: reads the topics.
            visitors: what the subscriber has read.
            show: called with every new frame.

        Raises:
            DemoError: a process ends before its time, or events stay unanswered.
        """
        begin: float | None = None
        advanced_at = next_frame = time.monotonic()
        advanced = 0
        while True:
            subscriber.read(_TICK_S)
            self._check()
            if not self.cut_short:
                replay.check(may_end=True)
            now = time.monotonic()
            if now < next_frame:
                continue
            next_frame = now + _METRICS_EVERY_S
            ended = replay.status is not None  # asked before counting: what is sent is final then
            sent = subscriber.sent()
            if begin is None and (sent or ended):
                begin = now
            frame = self._frame(now - (begin or now), expected, sent, visitors)
            show(frame)
            if ended and not frame.unanswered and frame.worker.latency.count >= sent:
                return frame
            if frame.answered != advanced or not frame.unanswered:
                advanced, advanced_at = frame.answered, now
            self._mind(replay, frame, now - advanced_at)

    def _frame(self, seconds: float, expected: int, sent: int, visitors: Visitors) -> Frame:
        if seconds >= self._example_until and (example := visitors.example()):
            self._example, self._example_until = example, seconds + _EXAMPLE_EVERY_S
        sample, answered = self._sample(), visitors.answered
        rate, latency = self._recent.add(seconds, answered, sample.latency)
        return Frame(
            seconds,
            expected,
            # What is read is never ahead of what the broker said after that it had.
            sent - visitors.guests_events,
            answered,
            rate,
            latency,
            sample,
            example=self._example,
            guests=visitors.guests,
        )

    def _mind(self, replay: Child, frame: Frame, without_answer_s: float) -> None:
        """Stop the replay before the broker overflows; give up on a worker that stands still."""
        if frame.unanswered > MOST_UNANSWERED and replay.status is None:
            self.cut_short = True
            replay.stop()
        if without_answer_s > self._stalled_after_s:
            raise DemoError(
                f"{frame.unanswered:,} of {frame.sent:,} events have no answer, and none has come "
                f"for {self._stalled_after_s:g} s{self._worker.tail()}"
            )

    def _sample(self) -> WorkerSample:
        """Return the worker's metrics, or the latest ones known if it is slow to tell."""
        text = fetch(self._url)
        if text is not None:
            self._latest = parse(text)
        return self._latest

    def _check(self) -> None:
        for child in self._lasting:
            child.check()
