"""The page's goods: what the topic `catalog` holds."""

from __future__ import annotations

import threading

import msgspec

from schemas.catalog import CatalogItem
from schemas.settings import Settings
from schemas.topics import Topic
from worker.topic_thread import TopicThread

_encode = msgspec.json.Encoder().encode


class Goods:
    """Follows `catalog` from its beginning in a thread; a context manager.

    Args:
        settings: brokers and wire format.

    Raises:
        BrokerError: the brokers do not answer, or do not have the topic.
    """

    def __init__(self, settings: Settings) -> None:
        self._lock = threading.Lock()
        self._items: dict[str, CatalogItem] = {}
        self._thread = TopicThread(
            settings,
            Topic.CATALOG,
            CatalogItem,
            put=self._put,
            remove=self._remove,
            name="goods",
            once_ended="the goods stay as they are",
        )

    def __enter__(self) -> Goods:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.close()

    def wait(self, timeout: float) -> bool:
        """Wait until the topic is read to the end that it had; return whether it is."""
        return self._thread.wait(timeout)

    def any(self) -> str | None:
        """Return the id of some item; None if there is none."""
        with self._lock:
            return next(iter(self._items), None)

    def document(self) -> bytes:
        """Return the items that can be had, as JSON: id, title, category path, price."""
        with self._lock:
            items = list(self._items.values())
        return _encode(
            [
                {
                    "id": item.item_id,
                    "title": item.title or item.item_id,
                    "categories": item.categories,
                    "price": item.price,
                }
                for item in items
                if item.available
            ]
        )

    def _put(self, item: CatalogItem) -> None:
        with self._lock:
            self._items[item.item_id] = item

    def _remove(self, item_id: str) -> None:
        with self._lock:
            self._items.pop(item_id, None)
