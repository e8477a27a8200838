from __future__ import annotations

import pytest

from producer.pacing import Pace, Pacer
from schemas.errors import SettingsError


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_rate_spaces_events_evenly() -> None:
    clock = Clock()
    pacer = Pacer(Pace(rate=4), clock)
    waits = [pacer.wait_for(event_time) for event_time in (0, 5_000_000, 5_000_001, 9_000_000)]
    assert waits == [0.0, 0.25, 0.5, 0.75]


def test_a_speed_up_shrinks_the_gaps_between_events() -> None:
    clock = Clock()
    pacer = Pacer(Pace(speed_up=60), clock)
    start = 1_569_888_000_000
    waits = [pacer.wait_for(start + gap_s * 1000) for gap_s in (0, 30, 30, 3600)]
    assert waits == [0.0, 0.5, 0.5, 60.0]


def test_a_delay_is_made_up_for_and_not_passed_on() -> None:
    clock = Clock()
    pacer = Pacer(Pace(rate=10), clock)
    assert pacer.wait_for(0) == 0.0
    clock.now += 0.35  # a slow broker: events 1 to 3 are overdue
    for _ in range(3):
        assert pacer.wait_for(0) == 0.0
        pacer.sent()
    assert pacer.wait_for(0) == pytest.approx(0.05)
    assert pacer.worst_lateness == pytest.approx(0.25)


def test_without_a_pace_nothing_waits() -> None:
    pacer = Pacer(Pace())
    assert pacer.unthrottled
    assert [pacer.wait_for(event_time) for event_time in (0, 10**12)] == [0.0, 0.0]


@pytest.mark.parametrize("fields", [{"rate": 0}, {"speed_up": -1}, {"rate": float("inf")}])
def test_a_pace_is_above_zero(fields: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match="it has to be a number above zero"):
        Pace(**fields)


def test_one_pace_at_a_time() -> None:
    with pytest.raises(SettingsError, match="exclude each other"):
        Pace(rate=1, speed_up=1)
