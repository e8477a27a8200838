"""Records as they come in, and how long an event waits for the recommendations made before it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from schemas.privacy import RequestNote


class Source(Protocol):
    """The message that a record came in."""

    def ack(self) -> object:
        """Say that the record need not be read again."""
        ...


@dataclass(frozen=True, slots=True)
class Incoming:
    """A record of a source topic."""

    offset: int
    record_ms: int
    """Its timestamp, CreateTime or LogAppendTime."""
    read_ms: int
    """When it was read, by this machine's clock."""
    key: bytes
    value: bytes | None
    """None in `recommendations` where a user is erased."""
    source: Source
    request: RequestNote | None = None
    """Of a null value in `recommendations`: the privacy request that it is because of."""

    @property
    def stamp_ms(self) -> int:
        """When it was published; a record from the future counts from when it was read."""
        return min(self.record_ms, self.read_ms)


class Side:
    """The records of one topic's partition that were read and not worked on yet."""

    def __init__(self) -> None:
        self.records: deque[Incoming] = deque()
        self._newest_ms = -1
        self._complete_ms = -1

    @property
    def until_ms(self) -> int:
        """Time before which all records were read, as far as is known."""
        return max(self._newest_ms, self._complete_ms)

    def add(self, record: Incoming) -> None:
        """Take a record; what comes later is taken to be published later."""
        self.records.append(record)
        self._newest_ms = max(self._newest_ms, record.stamp_ms)

    def complete_until(self, time_ms: int) -> None:
        """Take note that the partition was read to its end, which was so at a time."""
        self._complete_ms = max(self._complete_ms, time_ms)


class JoinBuffer:
    """Brings one partition of both topics into one order, by the times of publication.

    The topics have no common order. An event of time t takes its turn after the recommendations
    published up to t + `wait_ms`: any that its user can have seen is among them, if clocks are no
    further apart than that. And a recommendation has its turn before the events published from
    `wait_ms` before it on, so none comes so early that it is pushed out by its followers before the
    events that it caused.

    A record has its turn when the other topic's partition was read far enough: up to a record
    published late enough, or to its end at a time late enough (`Side.complete_until`). So the wait
    is bounded. A recommendation that is read even later is late: the events that were decided by
    then do not count for it.

    Args:
        wait_ms: more than the clocks of publishers and workers are apart, and more than a worker's
            transaction takes.
    """

    def __init__(self, wait_ms: int) -> None:
        self._wait_ms = wait_ms
        self.events = Side()
        self.recommendations = Side()
        self._decided_ms = -1
        self.late = 0
        """Recommendations that were late."""

    def take(self) -> Iterator[tuple[bool, Incoming]]:
        """Yield whether it is an event, and the record, for all whose turn has come."""
        events, lists = self.events.records, self.recommendations.records
        while events or lists:
            if events and lists:
                event_first = events[0].stamp_ms + self._wait_ms < lists[0].stamp_ms
            elif events:
                event_first = True
                if events[0].stamp_ms + self._wait_ms > self.recommendations.until_ms:
                    return
            else:
                event_first = False
                if lists[0].stamp_ms > self.events.until_ms + self._wait_ms:
                    return
            yield event_first, self._pop(event_first)

    def _pop(self, event: bool) -> Incoming:
        if event:
            record = self.events.records.popleft()
            self._decided_ms = max(self._decided_ms, record.stamp_ms)
        else:
            record = self.recommendations.records.popleft()
            self.late += record.stamp_ms <= self._decided_ms
        return record
