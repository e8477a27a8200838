"""The outbox for asyncio: handing over never blocks the event loop, acknowledgements are awaited.

confluent-kafka's own `AIOProducer` takes no headers (2.16), so this is the plain producer: its
`produce` only puts a record into a queue, one thread waits for news, and what a poll brought goes
to the event loop in one call.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Generator
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, Message

from producer.delivery import Deliveries, Poller, delivery_error
from producer.outbox import Headers, Outbox
from schemas.clickstream import ClickstreamEvent, EventType
from schemas.errors import BrokerError, QueueFullError
from schemas.settings import Settings
from schemas.topics import Topic

_AT_EXIT_S = 30.0


class AsyncReceipt:
    """What is given for an event; awaiting it waits until a broker has acknowledged the event.

    Attributes:
        event_id: the event's id, which recommendations that it causes name as `caused_by`.
        published: False if the user did not agree, so that nothing was published.
    """

    __slots__ = ("_future", "event_id", "kind", "published")

    def __init__(self, event_id: str, kind: EventType, *, published: bool = True) -> None:
        self.event_id = event_id
        self.kind = kind
        self.published = published
        self._future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not published:
            self._future.set_result(None)

    def __await__(self) -> Generator[Any, None, None]:
        """Wait for the acknowledgement. Raises DeliveryError if the event was given up."""
        # Several may wait; one of them that is cancelled does not cancel the others' news.
        return asyncio.shield(self._future).__await__()

    @property
    def done(self) -> bool:
        """Whether it is known what became of the event."""
        return self._future.done()

    @property
    def delivered(self) -> bool:
        """Whether a broker has acknowledged the event."""
        return self._future.done() and self._future.exception() is None

    def settle(self, error: KafkaError | None) -> None:
        """Say what became of the event; in the event loop."""
        if error is None:
            self._future.set_result(None)
        else:
            self._future.set_exception(delivery_error(error))
            self._future.exception()  # counted and logged: nobody has to ask


class AsyncOutbox:
    """Records for one event loop: that in which it is made.

    Args:
        settings: brokers, wire format.
        deliveries: counts what becomes of events.
        full_wait_s: the longest wait for room where too many wait, seconds; 0 raises at once.
        close_wait_s: the longest wait for acknowledgements at the end, seconds.
        overrides: librdkafka properties that are not for the settings to say.

    Raises:
        SettingsError: a setting is wrong.
    """

    def __init__(
        self,
        settings: Settings,
        deliveries: Deliveries,
        *,
        full_wait_s: float,
        close_wait_s: float,
        **overrides: Any,  # noqa: ANN401 - librdkafka's own
    ) -> None:
        self._deliveries = deliveries
        self._full_wait_s = full_wait_s
        self._close_wait_s = close_wait_s
        self._encodes_at_once = settings.wire.format == "json"
        self.kafka = Outbox(settings, **overrides)
        self._news = _News(deliveries)
        self._poller = Poller(self.kafka, self._news.bring)
        # For those who do not close it: runs when it is no longer referred to, or the program ends.
        self._end = weakref.finalize(self, _shut_down, self.kafka, self._poller)

    async def encode(self, event: ClickstreamEvent) -> bytes:
        """Return an event as the value of a record.

        Raises:
            CodecError: it cannot be encoded.
        """
        if self._encodes_at_once:
            return self.kafka.encode(Topic.CLICKSTREAM, event)
        # May ask the schema registry.
        return await asyncio.to_thread(self.kafka.encode, Topic.CLICKSTREAM, event)

    async def send(self, key: str, value: bytes, headers: Headers, receipt: AsyncReceipt) -> None:
        """Hand an encoded event to librdkafka, waiting for room if there is none.

        Raises:
            QueueFullError: there was none in time.
            BrokerError: this is closed.
        """
        if not self._end.alive:
            raise BrokerError("this tracker is closed; make another one")
        told = partial(self._news.note, receipt)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._full_wait_s
        with self._deliveries.taking():
            while True:
                try:
                    self.kafka.produce(Topic.CLICKSTREAM, key, value, headers, told)
                except QueueFullError:
                    if loop.time() >= deadline:
                        raise
                    await self._news.next(deadline - loop.time())
                else:
                    self._news.expect()
                    return

    async def check(self, *topics: Topic, timeout: float = 10.0) -> None:
        """Make sure that a broker answers and knows these topics; see `Outbox.check`.

        Raises:
            BrokerError: it does not; the message says what would help.
        """
        await asyncio.to_thread(partial(self.kafka.check, *topics, timeout=timeout))

    async def flush(self, timeout: float) -> int:
        """Wait for acknowledgements; return how many are outstanding after `timeout` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while self._news.expected and (left := deadline - loop.time()) > 0:
            await self._news.next(left)
        return self._news.expected

    async def close(self) -> int:
        """Send what is waiting, and end; return how many events are not acknowledged."""
        if self._end.detach() is None:
            return self._news.expected
        lost = await self.flush(self._close_wait_s)
        await asyncio.to_thread(self._poller.stop)
        return lost


class _News:
    """Brings what librdkafka tells in a thread to the event loop, a whole poll at a time."""

    def __init__(self, deliveries: Deliveries) -> None:
        self.expected = 0
        """Events whose news has not come; of the event loop alone."""
        self._deliveries = deliveries
        self._loop = asyncio.get_running_loop()
        self._next: asyncio.Future[None] = self._loop.create_future()
        self._lock = threading.Lock()
        self._noted: list[tuple[AsyncReceipt, KafkaError | None, float | None]] = []

    def expect(self) -> None:
        self.expected += 1

    async def next(self, timeout: float) -> None:
        """Wait for the next news, or for so many seconds."""
        await asyncio.wait((self._next,), timeout=timeout)

    def note(self, receipt: AsyncReceipt, error: KafkaError | None, message: Message) -> None:
        """Take what librdkafka tells, in whichever thread it does."""
        with self._lock:
            self._noted.append((receipt, error, message.latency()))

    def bring(self) -> None:
        """Bring what was noted to the event loop; from another thread."""
        with self._lock:
            noted, self._noted = self._noted, []
        try:
            self._loop.call_soon_threadsafe(self._settle, noted)
        except RuntimeError:  # the event loop is closed, and nobody waits any more
            return

    def _settle(self, noted: list[tuple[AsyncReceipt, KafkaError | None, float | None]]) -> None:
        for receipt, error, seconds in noted:
            self._deliveries.ended(receipt.kind, error, seconds)
            receipt.settle(error)
        self.expected -= len(noted)
        self._next.set_result(None)
        self._next = self._loop.create_future()


def _shut_down(outbox: Outbox, poller: Poller) -> None:
    if outbox.usable:  # else in a forked child, where neither the thread nor librdkafka lives
        poller.stop()
        outbox.flush(_AT_EXIT_S)
