"""The page's goods: what the topic `catalog` holds."""

from __future__ import annotations

import logging
import threading

import msgspec

from schemas.catalog import CatalogItem
from schemas.codec import DECODE_ERRORS, build_codec
from schemas.errors import BrokerError, RegistryError
from schemas.settings import Settings
from schemas.topics import Topic
from worker.topic_follower import TopicFollower

_LOG = logging.getLogger(__name__)
_MOST_AT_ONCE = 5000
_POLL_S = 0.2
_encode = msgspec.json.Encoder().encode


class Goods:
    """Follows `catalog` from its beginning in a thread; a context manager.

    Args:
        settings: brokers and wire format.

    Raises:
        BrokerError: the brokers do not answer, or do not have the topic.
    """

    def __init__(self, settings: Settings) -> None:
        self._decode = build_codec(settings.wire).decoder(CatalogItem)
        self._follower = TopicFollower(settings.kafka, Topic.CATALOG, 0)
        self._lock = threading.Lock()
        self._items: dict[str, CatalogItem] = {}
        self._stop = threading.Event()
        self._complete = threading.Event()
        self._thread = threading.Thread(target=self._run, name="goods", daemon=True)

    def __enter__(self) -> Goods:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait(self, timeout: float) -> bool:
        """Wait until the topic is read to the end that it had; return whether it is."""
        return self._complete.wait(timeout)

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

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                for message in self._follower.read(_MOST_AT_ONCE, _POLL_S):
                    self._take(message.key(), message.value())
                if self._follower.caught_up:
                    self._complete.set()
        except (BrokerError, RegistryError) as error:
            _LOG.warning("the goods stay as they are: %s", error)
        finally:
            self._follower.close()

    def _take(self, key: bytes | str | None, value: bytes | str | None) -> None:
        if value is None:
            if key is not None:
                with self._lock:
                    self._items.pop(key.decode() if isinstance(key, bytes) else key, None)
            return
        try:
            item = self._decode(value if isinstance(value, bytes) else value.encode())
        except DECODE_ERRORS:
            return  # the worker has said so
        with self._lock:
            self._items[item.item_id] = item
