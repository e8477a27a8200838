"""Visitors who never stop, and a fault of theirs: garbage."""

from __future__ import annotations

import random
import threading
import time
import uuid
from types import TracebackType
from typing import Self

from confluent_kafka import Producer

from schemas.catalog import CatalogItem
from schemas.clickstream import ClickstreamEvent, EventType
from schemas.codec import JsonCodec
from schemas.settings import Settings
from schemas.topics import Topic

CODEC = JsonCodec()
KINDS = (EventType.VIEW, EventType.CLICK, EventType.ADD_TO_CART, EventType.PURCHASE)
PAUSE_S = 0.05


def publish_items(settings: Settings, numbers: range) -> None:
    """Publish items to the catalogue."""
    topic = settings.kafka.topic(Topic.CATALOG)
    producer = Producer(settings.kafka.producer_config())
    for number in numbers:
        item = CatalogItem(item_id=f"i{number}", title=f"thing number {number}")
        producer.produce(topic, key=item.item_id, value=CODEC.encode(topic, item))
    assert producer.flush(60) == 0


class BusyShop:
    """Publishes events from a thread of its own while the `with` block runs.

    Args:
        settings: of the brokers.
        items: the events are on so many items.
    """

    def __init__(self, settings: Settings, items: int) -> None:
        self.open = threading.Event()
        """While it is set visitors come."""
        self.open.set()
        self.garbage = 0.0
        """Share of records that nobody can read."""
        self.junk = b"{"
        """What stands in those."""
        self.items = items
        self.at_once = 3
        """Events every twentieth of a second."""
        self._topic = settings.kafka.topic(Topic.CLICKSTREAM)
        self._producer = Producer(settings.kafka.producer_config())
        self._draw = random.Random(1)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="visitors", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        self._producer.flush(10)

    def _run(self) -> None:
        while not self._over.wait(PAUSE_S):
            if self.open.is_set():
                for _ in range(self.at_once):
                    self._publish()
            self._producer.poll(0)

    def _publish(self) -> None:
        user = f"visitor-{self._draw.randrange(40)}"
        value = self.junk
        if self._draw.random() >= self.garbage:
            kind = self._draw.choice(KINDS)
            sold = kind is EventType.PURCHASE
            event = ClickstreamEvent(
                event_id=str(uuid.UUID(int=self._draw.getrandbits(128))),
                user_id=user,
                type=kind,
                time=int(time.time() * 1000),
                item_id=f"i{self._draw.randrange(self.items)}",
                price=9.5 if sold else None,
                currency="EUR" if sold else None,
            )
            value = CODEC.encode(self._topic, event)
        self._producer.produce(self._topic, key=user, value=value)
