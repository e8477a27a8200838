"""When each event of a replay is due."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from schemas.errors import SettingsError


@dataclass(frozen=True)
class Pace:
    """How fast to replay. With neither field set, as fast as the brokers take it.

    Raises:
        SettingsError: both are set, or one is not above zero.
    """

    rate: float | None = None
    """Events per second, evenly spaced."""
    speed_up: float | None = None
    """How many times faster than the events' own times; 1 is real time."""

    def __post_init__(self) -> None:
        if self.rate is not None and self.speed_up is not None:
            raise SettingsError("--rate and --speed-up exclude each other; give one of them")
        for name, value in (("--rate", self.rate), ("--speed-up", self.speed_up)):
            if value is not None and not 0 < value < float("inf"):
                raise SettingsError(f"{name} is {value:g}; it has to be a number above zero")


class Pacer:
    """The schedule of one replay: open loop, against the monotonic clock.

    Each event is due at a time fixed by the start and the pace alone. A slow broker makes events
    late, and lateness is measured; it never stretches the schedule, which would hide the delay.

    Args:
        pace: how fast.
        clock: seconds, never going back.
    """

    def __init__(self, pace: Pace, clock: Callable[[], float] = time.monotonic) -> None:
        self.worst_lateness = 0.0
        """The most that an event was late, seconds."""
        self._pace = pace
        self._clock = clock
        self._start: float | None = None
        self._first_time = 0
        self._count = 0
        self._due = 0.0

    @property
    def unthrottled(self) -> bool:
        """Whether every event is due at once."""
        return self._pace.rate is None and self._pace.speed_up is None

    def wait_for(self, event_time: int) -> float:
        """Enter the next event into the schedule; return the seconds until it is due, or 0.

        Args:
            event_time: the event's own time, milliseconds; events come in time order.
        """
        now = self._clock()
        if self._start is None:
            self._start, self._first_time = now, event_time
        if self._pace.rate is not None:
            due = self._start + self._count / self._pace.rate
        elif self._pace.speed_up is not None:
            due = self._start + (event_time - self._first_time) / 1000 / self._pace.speed_up
        else:
            due = now
        self._count += 1
        self._due = due
        return max(0.0, due - now)

    def sent(self) -> None:
        """Note that the event last entered was handed over now."""
        self.worst_lateness = max(self.worst_lateness, self._clock() - self._due)
