"""The SDK for asyncio.

from producer import AsyncTracker

async with AsyncTracker() as tracker:
    receipt = await tracker.view(user_id="u-7", item_id="p-42")
    await receipt  # a broker has it
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from types import TracebackType
from typing import Any, Literal, Self

from prometheus_client import CollectorRegistry

from producer.async_outbox import AsyncOutbox, AsyncReceipt
from producer.delivery import Deliveries, DeliveryCounts
from producer.event_factory import EventFactory
from producer.event_methods import EventMethods
from producer.headers import EventHeaders
from producer.metrics import Fate, TrackerMetrics
from producer.tracker import DEFAULT_SOURCE, tracker_settings
from schemas.errors import DeliveryError, EventError
from schemas.settings import Settings
from schemas.topics import Topic


class AsyncTracker(EventMethods[Coroutine[Any, Any, AsyncReceipt]]):
    """Publishes events to `clickstream` without blocking the event loop in which it is made.

    As `producer.tracker.Tracker`; to await a method is to hand the event over, to await the
    receipt that it returns is to wait for a broker's acknowledgement.

    Args:
        settings: brokers, wire format, privacy; None reads them as every command does, from
            `innerloop.toml` and the environment.
        bootstrap_servers: brokers, in place of those of the settings read.
        source: who publishes, for CloudEvents' `source`.
        when_full: where more events wait than librdkafka's queue holds, `wait` for room or
            `raise` QueueFullError at once.
        full_wait_s: the longest wait for room, seconds; then QueueFullError is raised.
        close_wait_s: the longest wait for acknowledgements at the end, seconds.
        registry: where metrics are registered; None keeps them apart.

    Raises:
        SettingsError: a setting is wrong.
        EventError: `source` is no URI reference.
        RuntimeError: no event loop is running.
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
        self._deliveries = Deliveries(TrackerMetrics(registry))
        self._close_wait_s = close_wait_s
        self._outbox = AsyncOutbox(
            settings,
            self._deliveries,
            full_wait_s=full_wait_s if when_full == "wait" else 0.0,
            close_wait_s=close_wait_s,
        )

    @property
    def counts(self) -> DeliveryCounts:
        """What became of the events so far."""
        return self._deliveries.counts()

    @property
    def metrics(self) -> TrackerMetrics:
        """The metrics, with their registry."""
        return self._deliveries.metrics

    async def check(self, timeout: float = 10.0) -> None:
        """Make sure that a broker answers and has the topic.

        Raises:
            BrokerError: it does not; the message says what would help.
        """
        await self._outbox.check(Topic.CLICKSTREAM, timeout=timeout)

    async def track(self, fields: Mapping[str, Any]) -> AsyncReceipt:
        """Publish an event with these fields: those of a clickstream event, and `traceparent`.

        Raises:
            EventError: a field is missing, wrong or unknown; the message names it.
            QueueFullError: too many events wait for the brokers.
            BrokerError: the tracker is closed, or of another process.
        """
        given = dict(fields)
        traceparent = given.pop("traceparent", None)
        try:
            event = self._factory.make(given)
            headers = self._headers.of(event, traceparent)
            value = self._factory.check_size(await self._outbox.encode(event))
        except EventError:
            self._deliveries.note(Fate.INVALID)
            raise
        receipt = AsyncReceipt(event.event_id, event.type, published=event.consent)
        if event.consent:
            await self._outbox.send(event.user_id, value, headers, receipt)
        else:
            self._deliveries.note(Fate.NO_CONSENT)
        return receipt

    async def flush(self, timeout: float = 30.0) -> int:
        """Wait for acknowledgements; return how many events are waiting after `timeout` seconds."""
        return await self._outbox.flush(timeout)

    async def close(self) -> None:
        """Send what is waiting, and end. May be called again.

        Raises:
            DeliveryError: events were given up, now or earlier, or are not acknowledged in time.
        """
        lost = await self._outbox.close()
        failed = self.counts.failed
        if lost or failed:
            raise DeliveryError(
                f"{failed} events were given up, and {lost} were not acknowledged within "
                f"{self._close_wait_s:g} s{self._outbox.kafka.told_trouble()}"
            )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            await self.close()
        else:
            await self._outbox.close()  # sends what is waiting, but does not hide the error
