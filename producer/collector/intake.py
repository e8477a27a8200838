"""From drafts to acknowledged records: checked first, all of a request; then published."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from producer.async_outbox import AsyncOutbox, AsyncReceipt
from producer.collector.mapping import Draft
from producer.collector.payload import PayloadError
from producer.delivery import Deliveries
from producer.event_factory import EventFactory
from producer.headers import EventHeaders
from producer.metrics import CollectorMetrics, Fate
from producer.outbox import Headers
from schemas.clickstream import ClickstreamEvent
from schemas.errors import BrokerError, CodecError, DeliveryError, EventError, QueueFullError
from schemas.settings import Settings
from schemas.topics import Topic
from schemas.trace_context import TRACEPARENT, TraceContext

SOURCE = "/innerloop/collector/"
"""Of `ce_source`; the name of the write key follows."""

_READY_FOR_S = 2.0
_READY_WITHIN_S = 2.0
_MARGIN_S = 2.0
_IN_QUEUE = 200_000
"""Most records waiting in librdkafka; requests that wait are bounded besides."""


@dataclass(frozen=True)
class Prepared:
    """An event that can be published."""

    event: ClickstreamEvent
    value: bytes
    headers: Headers


class Intake:
    """Publishes what was sent. Made and used in the event loop.

    Args:
        settings: brokers, wire format, limits.
        metrics: counted there.
        now_ms: the clock, milliseconds.

    Raises:
        SettingsError: a setting is wrong.
    """

    def __init__(
        self, settings: Settings, metrics: CollectorMetrics, now_ms: Callable[[], int]
    ) -> None:
        collector = settings.collector
        self._factory = EventFactory(settings, now_ms)
        self._headers = {
            name: EventHeaders(SOURCE + name, settings.wire.format, trace=False)
            for name in collector.write_keys
        }
        self._metrics = metrics
        self._most_waiting = collector.max_waiting_requests
        self._waiting = 0
        self._within_s = collector.acknowledge_ms / 1000 + _MARGIN_S
        self._deliveries = Deliveries(metrics.tracker)
        self._outbox = AsyncOutbox(
            settings,
            self._deliveries,
            full_wait_s=0,
            close_wait_s=self._within_s,
            **{
                # Given up by then for certain: what was answered 503 does not arrive later, but
                # for what a broker wrote and could not acknowledge.
                "message.timeout.ms": collector.acknowledge_ms,
                "queue.buffering.max.messages": _IN_QUEUE,
            },
        )
        self._checked_at = -_READY_FOR_S
        self._trouble = ""
        self._checking = asyncio.Lock()

    async def prepare(
        self, drafts: Sequence[Draft], key: str, trace: TraceContext | None
    ) -> tuple[list[Prepared], list[PayloadError], int]:
        """Check drafts.

        Args:
            drafts: the events of a request.
            key: name of the write key.
            trace: of the request, for events that name none.

        Returns:
            What can be published, what is wrong, and how many events have no consent.
        """
        prepared: list[Prepared] = []
        errors: list[PayloadError] = []
        without_consent = 0
        for draft in drafts:
            try:
                made = await self._prepared(draft, key, trace)
            except (EventError, CodecError) as error:
                self._deliveries.note(Fate.INVALID)
                field = error.field if isinstance(error, EventError) else ""
                errors.append(_at(draft, field, str(error)))
                continue
            if made.event.consent:
                prepared.append(made)
            else:
                self._deliveries.note(Fate.NO_CONSENT)
                without_consent += 1
        return prepared, errors, without_consent

    async def publish(self, prepared: Sequence[Prepared]) -> None:
        """Publish events and wait until the brokers have acknowledged all of them.

        Raises:
            QueueFullError: too many requests or events wait for it already.
            BrokerError: they have not in time; some of the events may have been published.
        """
        if self._waiting >= self._most_waiting:
            raise QueueFullError("too many requests wait for the brokers")
        self._waiting += 1
        self._metrics.waiting.set(self._waiting)
        try:
            async with asyncio.timeout(self._within_s):
                receipts = []
                for each in prepared:
                    event = each.event
                    receipt = AsyncReceipt(event.event_id, event.type)
                    await self._outbox.send(event.user_id, each.value, each.headers, receipt)
                    receipts.append(receipt)
                for receipt in receipts:
                    if not receipt.delivered:
                        await receipt
        except TimeoutError:
            raise DeliveryError("the brokers did not acknowledge in time") from None
        finally:
            self._waiting -= 1
            self._metrics.waiting.set(self._waiting)

    async def trouble(self) -> str:
        """Return what keeps brokers from taking events, "" if nothing; asks every two seconds."""
        async with self._checking:
            if time.monotonic() - self._checked_at >= _READY_FOR_S:
                try:
                    await self._outbox.check(Topic.CLICKSTREAM, timeout=_READY_WITHIN_S)
                    self._trouble = ""
                except BrokerError as error:
                    self._trouble = str(error)
                self._checked_at = time.monotonic()
        return self._trouble

    @property
    def ended(self) -> str:
        """Why no event can be published any more, until another process is started; "" if so."""
        return self._outbox.kafka.ended

    async def close(self) -> int:
        """Send what is waiting, and end; return how many events are not acknowledged."""
        return await self._outbox.close()

    async def _prepared(self, draft: Draft, key: str, trace: TraceContext | None) -> Prepared:
        fields = dict(draft.fields)
        named = fields.pop(TRACEPARENT, None)
        event = self._factory.make(fields, strict=False)
        traceparent, tracestate = (named, None) if named is not None else trace or (None, None)
        headers = self._headers[key].of(event, traceparent, tracestate)
        value = await self._outbox.encode(event)
        return Prepared(event, self._factory.check_size(value), headers)


def _at(draft: Draft, field: str, message: str) -> PayloadError:
    """Return an error at the place in the payload that a field is from."""
    return PayloadError(draft.path(field), message.removeprefix(f"{field}: "), draft.index)
