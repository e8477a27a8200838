"""The log: lines for people, JSON for machines, and few of them in a storm."""

import io
import json
import logging

import pytest

from schemas.settings import LoggingSettings
from worker.logs import JsonLines, Repeats, TextLines, set_up_logging


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def logged(clock):
    """A logger that lets three records of an event pass in a minute, and its lines."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(Repeats(3, clock))
    logger = logging.Logger("innerloop.test")
    logger.addHandler(handler)
    return logger, handler, stream


def test_a_storm_of_one_event_leaves_few_lines_and_says_how_many_it_was(logged, clock):
    logger, handler, stream = logged
    handler.setFormatter(TextLines("%(levelname)s %(message)s"))
    for number in range(10_000):
        logger.warning("a record cannot be used: %s", number)
        if number == 5000:
            logger.warning("something else")
    clock.now += 59
    logger.warning("a record cannot be used: %s", "still")
    clock.now += 1
    logger.warning("a record cannot be used: %s", "again")
    logger.warning("a record cannot be used: %s", "and again")
    assert stream.getvalue().splitlines() == [
        *(f"WARNING a record cannot be used: {number}" for number in range(3)),
        "WARNING something else",
        "WARNING a record cannot be used: again (9,998 more like it were left out)",
        "WARNING a record cannot be used: and again",
    ]


def test_names_with_values_in_them_do_not_fill_memory(clock):
    repeats = Repeats(3, clock)
    for number in range(5000):
        record = logging.LogRecord("lib", logging.INFO, "", 0, f"value {number}", None, None)
        assert repeats.filter(record)
    assert len(repeats._events) <= 1000


def test_a_line_of_json_holds_the_event_its_values_and_what_went_wrong(logged, clock):
    logger, handler, stream = logged
    handler.setFormatter(JsonLines())
    try:
        raise ValueError("a\nb")
    except ValueError:
        logger.exception('reading %s: "%s"', "topic", 7)
    for _ in range(4):
        logger.info("ready")
    clock.now += 60
    logger.info("ready")
    first, *_, last = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert first.pop("time").endswith("Z")
    assert first.pop("error").endswith("ValueError: a\nb")
    assert first == {
        "level": "error",
        "logger": "innerloop.test",
        "event": 'reading %s: "%s"',
        "message": 'reading topic: "7"',
    }
    assert (last["event"], last["left_out"]) == ("ready", 1)


@pytest.mark.parametrize(
    ("settings", "verbose", "formatter", "filters", "level"),
    [
        ({}, False, TextLines, 1, logging.INFO),
        ({"format": "json"}, False, JsonLines, 1, logging.INFO),
        ({"repeats_per_minute": 0}, False, TextLines, 0, logging.INFO),
        ({}, True, TextLines, 0, logging.DEBUG),
    ],
)
def test_settings_say_how_it_is_written(monkeypatch, settings, verbose, formatter, filters, level):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])  # as it is before anybody sets it up
    monkeypatch.setattr(root, "level", root.level)
    set_up_logging(LoggingSettings(**settings), verbose=verbose)
    (handler,) = root.handlers
    assert type(handler.formatter) is formatter
    assert (len(handler.filters), root.level) == (filters, level)
