"""Counting dead letters, and showing some."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from confluent_kafka import Message

from schemas.settings import Settings
from schemas.topics import Topic
from worker.dead_letters.records import (
    Selection,
    StoredDeadLetter,
    read_dead_letter,
    replayed_offsets,
)
from worker.kafka_connection import connect
from worker.topic_span import TopicSpan

_SHORTEST = 8


@dataclass
class Group:
    """Dead letters of the same reason, stage and source."""

    count: int = 0
    replayed: int = 0
    """Of these, put back since."""
    failed_again: int = 0
    """Of these, put back before and unusable again."""
    first: int = 0
    last: int = 0
    """Times of the earliest and the latest, milliseconds since the epoch."""

    def add(self, letter: StoredDeadLetter) -> None:
        """Count a dead letter."""
        self.first = min(self.first, letter.time) if self.count else letter.time
        self.last = max(self.last, letter.time)
        self.count += 1
        self.failed_again += letter.failed_again


@dataclass
class Inspection:
    """What the dead-letter topic holds."""

    groups: dict[tuple[str, str, str], Group] = field(default_factory=dict)
    """By reason, stage and source topic."""
    latest: list[StoredDeadLetter] = field(default_factory=list)
    """Some of them, the latest of each partition, by time."""


def inspect(
    settings: Settings,
    selection: Selection,
    samples: int,
    on_phase: Callable[[str, int], None] = lambda name, total: None,
    on_step: Callable[[int], None] = lambda steps: None,
) -> Inspection:
    """Count the dead letters that are meant, by what they say of themselves.

    Args:
        settings: all of them.
        selection: which are meant.
        samples: how many to return whole.
        on_phase: told the topic and how many offsets there are to read.
        on_step: told how many offsets more are read.

    Raises:
        BrokerError: the brokers cannot be reached, or the topic cannot be read.
    """
    result = Inspection()
    places: dict[int, dict[int, tuple[str, str, str]]] = {}
    latest: dict[int, deque[StoredDeadLetter]] = {}

    def take(messages: list[Message]) -> None:
        for message in messages:
            letter = read_dead_letter(message)
            if letter is None:
                counted = places.get(message.partition() or 0, {})
                for offset in replayed_offsets(message) & counted.keys():
                    result.groups[counted.pop(offset)].replayed += 1
            elif selection.holds(letter):
                name = (letter.reason, letter.stage, letter.source_topic)
                result.groups.setdefault(name, Group()).add(letter)
                places.setdefault(letter.partition, {})[letter.offset] = name
                latest.setdefault(letter.partition, deque(maxlen=samples)).append(letter)

    span = TopicSpan(settings, Topic.DEAD_LETTERS, connect(settings.kafka).replicas)
    try:
        span.read(take, on_phase, on_step)
    finally:
        span.close()
    found = sorted((x for some in latest.values() for x in some), key=lambda letter: letter.time)
    result.latest = found[len(found) - samples :] if samples < len(found) else found
    return result


def payload(value: bytes | None, most: int = 400) -> str:
    """Return a value for a person: as text if it is UTF-8, else in hexadecimal; cut if long."""
    if value is None:
        return "(none)"
    try:
        text = value.decode()
        shown = text if text.isprintable() or not text else repr(text)[1:-1]
    except UnicodeDecodeError:
        shown = f"hex {value.hex(' ')}"
    rest = f"… ({len(value)} bytes)"
    return shown if len(shown) <= most else shown[: max(_SHORTEST, most - len(rest))] + rest
