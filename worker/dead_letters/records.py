"""Records of the dead-letter topic, read without trusting them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from confluent_kafka import Message

from schemas.dead_letter import DeadLetterHeader, DeadLetterReason, ReplayHeader
from worker.stages.decode import Header, header_list, position, record_time

_OWN = frozenset({*DeadLetterHeader, ReplayHeader.FROM})


@dataclass(frozen=True)
class StoredDeadLetter:
    """A dead letter as it lies in the topic."""

    partition: int
    offset: int
    """Of the dead-letter topic."""
    time: int
    """When it was put there, milliseconds since the epoch."""
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]
    """Of the original record; those of a replay are left out."""
    about: dict[str, str]
    """What `DeadLetterHeader` and `ReplayHeader` name."""

    @property
    def reason(self) -> str:
        """Why the record could not be used: a `DeadLetterReason`, if this version knows it."""
        return self.about.get(DeadLetterHeader.REASON, "unknown")

    @property
    def stage(self) -> str:
        """Where in the worker that was found."""
        return self.about.get(DeadLetterHeader.STAGE, "unknown")

    @property
    def source_topic(self) -> str:
        """Full name of the topic that the record comes from."""
        return self.about.get(DeadLetterHeader.SOURCE_TOPIC, "unknown")

    @property
    def source_partition(self) -> int | None:
        """Partition that it comes from."""
        text = self.about.get(DeadLetterHeader.SOURCE_PARTITION, "")
        return int(text) if text.isdecimal() else None

    @property
    def failed_again(self) -> bool:
        """Whether it was put back before, from another dead letter."""
        return ReplayHeader.FROM in self.about

    @property
    def lost_its_value(self) -> bool:
        """Whether the value was too large for this topic, so that it is not here."""
        return self.value is None and self.reason != DeadLetterReason.EMPTY_VALUE


def read_dead_letter(message: Message) -> StoredDeadLetter | None:
    """Return the dead letter in a record; None if it is a note of a replay."""
    headers = header_list(message)
    if any(name == ReplayHeader.OFFSETS for name, _ in headers):
        return None
    partition, offset = position(message)
    return StoredDeadLetter(
        partition,
        offset,
        record_time(message),
        message.key(),
        message.value(),
        tuple((name, content) for name, content in headers if name not in _OWN),
        {name: _text(content) for name, content in headers if name in _OWN},
    )


def replayed_offsets(message: Message) -> set[int]:
    """Return the offsets that a note says were replayed, none if the record is no note."""
    found: set[int] = set()
    for name, content in header_list(message):
        if name == ReplayHeader.OFFSETS:
            for part in _text(content).split(","):
                first, _, last = part.partition("-")
                if first.isdecimal() and (last or first).isdecimal():
                    found.update(range(int(first), int(last or first) + 1))
    return found


def offsets_note(offsets: Iterable[int]) -> list[Header]:
    """Return the headers of a note that these offsets were replayed."""
    parts = []
    ordered = enumerate(sorted(set(offsets)))
    for _, run in groupby(ordered, key=lambda pair: pair[1] - pair[0]):
        numbers = [number for _, number in run]
        first, last = numbers[0], numbers[-1]
        parts.append(str(first) if first == last else f"{first}-{last}")
    return [(ReplayHeader.OFFSETS.value, ",".join(parts).encode())]


@dataclass(frozen=True)
class Selection:
    """Which dead letters are meant; whatever is None or empty leaves nothing out."""

    reasons: Collection[str] = ()
    partitions: Collection[int] = ()
    since: datetime | None = None
    until: datetime | None = None

    def holds(self, letter: StoredDeadLetter) -> bool:
        """Tell whether a dead letter is meant."""
        return (
            (not self.reasons or letter.reason in self.reasons)
            and (not self.partitions or letter.partition in self.partitions)
            and (self.since is None or letter.time >= self.since.timestamp() * 1000)
            and (self.until is None or letter.time < self.until.timestamp() * 1000)
        )


def _text(content: bytes | None) -> str:
    return (content or b"").decode(errors="replace")
