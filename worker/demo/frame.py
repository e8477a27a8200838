"""Everything that the view shows, at one moment."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from worker.demo.scrape import HistogramSample, WorkerSample
from worker.demo.visitors import Example

WINDOW_S = 10.0
"""Speed and latency that are called recent go back so far, seconds."""


@dataclass(frozen=True)
class Frame:
    """The demo at one moment of the replay."""

    seconds: float
    """Since the first event was published."""
    expected: int
    """Events that the replay is to publish."""
    sent: int
    """Events of the replay that the broker has taken."""
    answered: int
    """Events whose recommendation a subscriber has read."""
    recent_rate: float
    """Events answered per second, recently."""
    recent_latency: HistogramSample
    """Event to recommendation, recently, seconds."""
    worker: WorkerSample
    example: Example | None
    guests: int = 0
    """Users of the storefront's page, whose events are none of the replay's."""

    @property
    def visitors(self) -> float:
        """Users of the replay whose state the worker has in memory."""
        return self.worker.users - self.guests

    @property
    def unanswered(self) -> int:
        """Events published and not yet answered."""
        return self.sent - self.answered


class RecentPast:
    """Turns running totals into what is recent.

    Args:
        window_s: how far back, seconds.
    """

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._past: deque[tuple[float, int, HistogramSample]] = deque()

    def add(
        self, seconds: float, answered: int, latency: HistogramSample
    ) -> tuple[float, HistogramSample]:
        """Add the totals of now; return events per second and latencies over the window."""
        self._past.append((seconds, answered, latency))
        while seconds - self._past[0][0] > self._window_s:
            self._past.popleft()
        begin, answered_then, latency_then = self._past[0]
        passed = seconds - begin
        rate = (answered - answered_then) / passed if passed > 0 else 0.0
        return rate, latency.since(latency_then)
