"""The SDK: publish what users do, in a few lines.

from producer import Tracker

with Tracker() as tracker:
    tracker.view(user_id="u-7", item_id="p-42", surface="home")
"""

from __future__ import annotations

import concurrent.futures
import time
import weakref
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal, Self

from confluent_kafka import KafkaError, Message
from prometheus_client import CollectorRegistry

from producer.delivery import Deliveries, DeliveryCounts, Poller, delivery_error
from producer.event_factory import EventFactory
from producer.event_methods import EventMethods
from producer.headers import EventHeaders
from producer.metrics import Fate, TrackerMetrics
from producer.outbox import Headers, Outbox
from schemas.clickstream import ClickstreamEvent, EventType
from schemas.errors import BrokerError, DeliveryError, EventError, QueueFullError
from schemas.settings import Settings, load_settings
from schemas.topics import Topic

DEFAULT_SOURCE = "/innerloop/tracker"
_QUEUE_FULL_WAIT_S = 0.02


class Receipt:
    """What a tracker gives for an event.

    Attributes:
        event_id: the event's id, which recommendations that it causes name as `caused_by`.
        published: False if the user did not agree, so that nothing was published.
    """

    __slots__ = ("_deliveries", "_future", "_kind", "event_id", "published")

    def __init__(
        self, event_id: str, kind: EventType, deliveries: Deliveries, *, published: bool
    ) -> None:
        self.event_id = event_id
        self.published = published
        self._kind = kind
        self._deliveries = deliveries
        self._future: concurrent.futures.Future[None] = concurrent.futures.Future()
        if not published:
            self._future.set_result(None)

    @property
    def done(self) -> bool:
        """Whether it is known what became of the event."""
        return self._future.done()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until a broker has acknowledged the event.

        Raises:
            DeliveryError: it was given up.
            TimeoutError: neither is known after `timeout` seconds.
        """
        self._future.result(timeout)

    def on_delivery(self, error: KafkaError | None, message: Message) -> None:
        """Take what librdkafka tells."""
        self._deliveries.ended(self._kind, error, message.latency())
        if error is None:
            self._future.set_result(None)
        else:
            self._future.set_exception(delivery_error(error))


class Tracker(EventMethods[Receipt]):
    """Publishes events to `clickstream`. Safe to use from several threads.

    Events go out in batches, by an idempotent producer (librdkafka's `linger.ms` and
    `batch.size`, setting kafka.producer_properties); a user's events stay in order. What is
    waiting is sent at the end of a `with` block, by `close`, or when the program ends.

    User ids are hashed first if the setting privacy.user_id_key is set. An event whose user does
    not agree (`consent=False`) is not published.

    Args:
        settings: brokers, wire format, privacy; None reads them as every command does, from
            `innerloop.toml` and the environment.
        bootstrap_servers: brokers, in place of those of the settings read.
        source: who publishes, for CloudEvents' `source`.
        when_full: where more events wait than librdkafka's queue holds, `wait` for room or
            `raise` QueueFullError at once.
        full_wait_s: the longest wait for room, seconds; then QueueFullError is raised.
        close_wait_s: the longest wait for acknowledgements at the end, seconds.
        registry: where metrics are registered, such as `prometheus_client.REGISTRY`; None keeps
            them apart.

    Raises:
        SettingsError: a setting is wrong.
        EventError: `source` is no URI reference.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        bootstrap_servers: str | None = None,
        source: str = DEFAULT_SOURCE,
        when_full: Literal["wait", "raise"] = "wait",
        full_wait_s: float = 30.0,
        close_wait_s: float = 30.0,
        registry: CollectorRegistry | None = None,
    ) -> None:
        settings = tracker_settings(settings, bootstrap_servers)
        self._factory = EventFactory(settings)
        self._headers = EventHeaders(source, settings.wire.format)
        self._full_wait_s = full_wait_s if when_full == "wait" else 0.0
        self._close_wait_s = close_wait_s
        self._deliveries = Deliveries(TrackerMetrics(registry))
        self._outbox = Outbox(settings)
        # Runs at the latest when the interpreter ends or the tracker is no longer referred to.
        self._end = weakref.finalize(
            self, _shut_down, self._outbox, Poller(self._outbox), close_wait_s
        )

    @property
    def counts(self) -> DeliveryCounts:
        """What became of the events so far."""
        return self._deliveries.counts()

    @property
    def metrics(self) -> TrackerMetrics:
        """The metrics, with their registry."""
        return self._deliveries.metrics

    def check(self, timeout: float = 10.0) -> None:
        """Make sure that a broker answers and has the topic.

        Raises:
            BrokerError: it does not; the message says what would help.
        """
        self._outbox.check(Topic.CLICKSTREAM, timeout=timeout)

    def track(self, fields: Mapping[str, Any]) -> Receipt:
        """Publish an event with these fields: those of a clickstream event, and `traceparent`.

        Raises:
            EventError: a field is missing, wrong or unknown; the message names it.
            QueueFullError: too many events wait for the brokers.
            BrokerError: the tracker is closed, or of another process.
        """
        try:
            event, traceparent = self._make(fields)
            headers = self._headers.of(event, traceparent)
            value = self._factory.check_size(self._outbox.encode(Topic.CLICKSTREAM, event))
        except EventError:
            self._deliveries.note(Fate.INVALID)
            raise
        receipt = Receipt(event.event_id, event.type, self._deliveries, published=event.consent)
        if not event.consent:
            self._deliveries.note(Fate.NO_CONSENT)
            return receipt
        if not self._end.alive:
            raise BrokerError("this tracker is closed; make another one")
        with self._deliveries.taking():
            self._hand_over(event.user_id, value, headers, receipt)
        return receipt

    def flush(self, timeout: float = 30.0) -> int:
        """Wait for acknowledgements; return how many events are waiting after `timeout` seconds."""
        self._outbox.flush(timeout)
        return self.counts.waiting

    def close(self) -> None:
        """Send what is waiting, and end. May be called again.

        Raises:
            DeliveryError: events were given up, now or earlier, or are not acknowledged in time.
        """
        self._end()
        counts = self.counts
        if counts.failed or counts.waiting:
            raise DeliveryError(
                f"{counts.failed} events were given up, and {counts.waiting} were not "
                f"acknowledged within {self._close_wait_s:g} s{self._outbox.told_trouble()}"
            )

    def _hand_over(self, key: str, value: bytes, headers: Headers, receipt: Receipt) -> None:
        deadline = time.monotonic() + self._full_wait_s
        while True:
            try:
                self._outbox.produce(Topic.CLICKSTREAM, key, value, headers, receipt.on_delivery)
            except QueueFullError:
                if time.monotonic() >= deadline:
                    raise
                self._outbox.poll(_QUEUE_FULL_WAIT_S)
            else:
                return

    def _make(self, fields: Mapping[str, Any]) -> tuple[ClickstreamEvent, str | None]:
        given = dict(fields)
        traceparent = given.pop("traceparent", None)
        return self._factory.make(given), traceparent

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self._end()  # sends what is waiting, but does not hide the error


def tracker_settings(settings: Settings | None, bootstrap_servers: str | None) -> Settings:
    """Return the settings given, or those that every command reads, with these brokers."""
    if settings is None:
        return load_settings(flags={"kafka": {"bootstrap_servers": bootstrap_servers}})
    if bootstrap_servers is None:
        return settings
    kafka = settings.kafka.model_copy(update={"bootstrap_servers": bootstrap_servers})
    return settings.model_copy(update={"kafka": kafka})


def _shut_down(outbox: Outbox, poller: Poller, timeout: float) -> None:
    if outbox.usable:  # else in a forked child, where neither the thread nor librdkafka lives
        outbox.flush(timeout)
        poller.stop()
