"""What becomes of published events: receipts, counts, and the thread that brings the news."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka import KafkaError

from producer.metrics import Fate, TrackerMetrics
from producer.outbox import Outbox
from schemas.clickstream import EventType
from schemas.errors import BrokerError, DeliveryError, QueueFullError
from schemas.kafka_refusals import told

_LOG = logging.getLogger("innerloop.producer")
_POLL_S = 0.1
_TELL_EVERY_S = 60.0


@dataclass(frozen=True)
class DeliveryCounts:
    """Events of one tracker, by what became of them."""

    delivered: int
    failed: int
    """Given up: no broker acknowledged them in time."""
    refused: int
    """Not taken, as too many were waiting."""
    invalid: int
    no_consent: int
    waiting: int
    """Handed over, and neither delivered nor given up so far."""


class Deliveries:
    """Counts what becomes of events, and says in the log when brokers do not take them.

    Args:
        metrics: counted there too.
    """

    def __init__(self, metrics: TrackerMetrics) -> None:
        self.metrics = metrics
        self._handed_over = 0
        self._by_fate = dict.fromkeys(Fate, 0)
        self._lock = threading.Lock()
        self._told_at = -_TELL_EVERY_S
        metrics.waiting.set_function(lambda: float(self.counts().waiting))

    def counts(self) -> DeliveryCounts:
        """Return the counts so far."""
        with self._lock:
            fates = {fate.value: count for fate, count in self._by_fate.items()}
            ended = self._by_fate[Fate.DELIVERED] + self._by_fate[Fate.FAILED]
            return DeliveryCounts(**fates, waiting=self._handed_over - ended)

    @contextmanager
    def taking(self) -> Iterator[None]:
        """Count the event that the block hands over, before it can be acknowledged."""
        with self._lock:
            self._handed_over += 1
        try:
            yield
        except BrokerError as error:
            with self._lock:
                self._handed_over -= 1
            if isinstance(error, QueueFullError):
                self.note(Fate.REFUSED)
            raise

    def note(self, fate: Fate) -> None:
        """Note an event that was not handed over."""
        self.metrics.fates[fate].inc()
        with self._lock:
            self._by_fate[fate] += 1

    def ended(self, kind: EventType, error: KafkaError | None, seconds: float | None) -> None:
        """Note what became of an event that was handed over.

        Args:
            kind: of the event.
            error: why it was given up; None if a broker acknowledged it.
            seconds: from handing it over to its acknowledgement.
        """
        self.note(Fate.DELIVERED if error is None else Fate.FAILED)
        if error is None:
            self.metrics.delivered[kind].inc()
            if seconds is not None:
                self.metrics.delivery_seconds.observe(seconds)
        elif time.monotonic() - self._told_at >= _TELL_EVERY_S:
            self._told_at = time.monotonic()
            _LOG.warning("events are not delivered: %s", told(error))


def delivery_error(error: KafkaError) -> DeliveryError:
    """Return the error for an event that was given up."""
    return DeliveryError(
        f"the event was not delivered: {told(error)} (librdkafka's message.timeout.ms says how "
        "long it is tried)"
    )


class Poller:
    """A daemon thread in which librdkafka tells what became of messages.

    Without it a tracker that is idle would learn nothing, and its queue would not empty.

    Args:
        outbox: polled.
        after_poll: called after each poll that told something, in the thread.
    """

    def __init__(self, outbox: Outbox, after_poll: Callable[[], None] | None = None) -> None:
        self._outbox = outbox
        self._after_poll = after_poll
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="innerloop-deliveries", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            if self._outbox.poll(_POLL_S) and self._after_poll is not None:
                self._after_poll()
