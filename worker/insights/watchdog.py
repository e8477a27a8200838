"""Ends the process where it has stopped working without saying so.

Seen or reported of Faust and aiokafka: consumers that die quietly, partitions never fetched again
after a rebalance, and commits that stop. What they have in common is that records wait and none is
taken; that is asked of the brokers by a client of its own, in a thread of its own.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from faust.tables.manager import TableManager

from schemas.settings import Settings
from worker.insights.faust_parts import InsightsApp
from worker.insights.topics import InsightsTopics
from worker.kafka_connection import QUIET

_LOG = logging.getLogger(__name__)

EXIT_STATUS = 2
_LOOKS = 10
"""How often to look within the time after which it is a stall."""
_TIMEOUT_S = 10.0
_POLL_S = 5.0
_END_S = 60.0
"""How long an app that crashed may take to end."""


class Watchdog:
    """Watches one process.

    Args:
        settings: say what a stall is.
        topics: those read.
        die: ends the process with an error; replaced in tests.
        clock: monotonic, seconds.
    """

    def __init__(
        self,
        settings: Settings,
        topics: InsightsTopics,
        die: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._topics = topics
        self._die = die or end_process
        self._clock = clock
        self._stall_s = settings.insights.stall_seconds
        self._rounds = 0
        self._taken_at = clock()
        self._alive: tuple[int, int] | None = None
        self._alive_at = clock()
        self._crashed_at: float | None = None
        self._committed: dict[tuple[str, int], int] = {}
        self._probed_at = clock()

    def progress(self, records: int) -> None:
        """Take note of a round of work, and of how many records it took in."""
        self._rounds += 1
        if records:
            self._taken_at = self._clock()

    @contextmanager
    def watching(self, app: InsightsApp) -> Iterator[None]:
        """Watch while the block runs."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(self._stall_s / _LOOKS):
                self.look(app)

        watcher = threading.Thread(target=watch, name="insights-watchdog", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join(_TIMEOUT_S)

    def look(self, app: InsightsApp) -> None:
        """Look once, and end the process if it has stalled."""
        now = self._clock()
        if app.crashed:
            self._crashed_at = self._crashed_at or now
            if now - self._crashed_at > _END_S:
                self._die("it does not end after an error; see the log")
            return
        tables = cast(TableManager, app.tables)
        alive = (self._rounds, tables.recovery.active_remaining_total())
        if alive != self._alive:
            self._alive, self._alive_at = alive, now
        elif now - self._alive_at > self._stall_s:
            self._die(
                f"neither a round of work nor the restoring of tables has got on for "
                f"{now - self._alive_at:.0f} s (insights.stall_seconds)"
            )
        if now - max(self._taken_at, self._probed_at) > self._stall_s:
            self._probed_at = now
            self._probe(app)

    def _probe(self, app: InsightsApp) -> None:
        """Ask the brokers whether records wait that were waiting already at the last look."""
        try:
            unread = self._unread(app)
        except KafkaException as error:
            _LOG.warning("the brokers do not tell what waits: %s", error.args[0].str())
            return
        stuck = {
            place: offset
            for place, offset in unread.items()
            if self._committed.get(place) == offset
        }
        self._committed = unread
        if stuck:
            (topic, partition), offset = min(stuck.items())
            self._die(
                f"{topic} partition {partition} has records from offset {offset} on, and none "
                f"was taken for {self._clock() - self._taken_at:.0f} s (insights.stall_seconds); "
                "nothing is lost: start it again"
            )

    def _unread(self, app: InsightsApp) -> dict[tuple[str, int], int]:
        """Return where records wait in this process's partitions, or in all if it has none."""
        sources = (self._topics.clickstream, self._topics.recommendations)
        places = [
            TopicPartition(tp.topic, tp.partition)
            for tp in app.consumer.assignment()
            if tp.topic in sources
        ] or [TopicPartition(t, n) for t in sources for n in range(self._topics.partitions)]
        consumer = Consumer(
            {
                **self._settings.kafka.consumer_config(self._settings.insights.group_id),
                **QUIET,
                "enable.partition.eof": True,
            }
        )
        try:
            committed = consumer.committed(places, timeout=_TIMEOUT_S)
            for place in committed:
                if place.offset < 0:
                    place.offset = OFFSET_BEGINNING
            return _first_unread(consumer, committed)
        finally:
            consumer.close()


def _first_unread(consumer: Consumer, places: list[TopicPartition]) -> dict[tuple[str, int], int]:
    """Return the first offset that can be read, of partitions that have any from there on."""
    consumer.assign(places)
    left = {(place.topic, place.partition) for place in places}
    found: dict[tuple[str, int], int] = {}
    deadline = time.monotonic() + _POLL_S
    while left and time.monotonic() < deadline:
        message = consumer.poll(0.5)
        if message is None:
            continue
        error = message.error()
        place = (message.topic() or "", message.partition() or 0)
        if error is None and place in left:
            found[place] = message.offset() or 0
        elif error is not None and error.code() != KafkaError._PARTITION_EOF:
            continue
        left.discard(place)
    return found


def end_process(reason: str) -> None:
    """End the process at once: what has stalled cannot be relied on to stop in order."""
    _LOG.critical("innerloop insights has stalled: %s", reason)
    sys.stderr.write(f"error: innerloop insights has stalled: {reason}\n")
    sys.stderr.flush()
    os._exit(EXIT_STATUS)
