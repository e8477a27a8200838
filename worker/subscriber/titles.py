"""Items' titles from the topic `catalog`."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict

from schemas.catalog import CatalogItem
from schemas.codec import DECODE_ERRORS, build_codec
from schemas.errors import BrokerError, RegistryError
from schemas.settings import Settings
from schemas.topics import Topic
from worker.topic_follower import TopicFollower

_LOG = logging.getLogger(__name__)
_MOST_AT_ONCE = 5000
_POLL_S = 0.2


class Titles:
    """Follows `catalog` from its beginning in a thread and knows the items' titles.

    Args:
        settings: brokers, wire format, `subscriber.titles`: of more items the titles told longest
            ago are forgotten.

    Raises:
        BrokerError: the brokers do not answer, or do not have the topic.
    """

    def __init__(self, settings: Settings) -> None:
        self._most = settings.subscriber.titles
        self._decode = build_codec(settings.wire).decoder(CatalogItem)
        self._follower = TopicFollower(
            settings.kafka, Topic.CATALOG, 0, settings.subscriber.refresh_seconds
        )
        self._titles: OrderedDict[str, str] = OrderedDict()
        self._stop = threading.Event()
        self._complete = threading.Event()
        self._thread = threading.Thread(target=self._run, name="titles", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._titles)

    def of(self, item_id: str) -> str | None:
        """Return an item's title; None if it has none, or is not known."""
        return self._titles.get(item_id) or None

    def wait(self, timeout: float) -> bool:
        """Wait until the topic is read to the end that it had; return whether it is."""
        return self._complete.wait(timeout)

    def close(self) -> None:
        """Stop following."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                for message in self._follower.read(_MOST_AT_ONCE, _POLL_S):
                    self._take(message.key(), message.value())
                if self._follower.caught_up:
                    self._complete.set()
        except (BrokerError, RegistryError) as error:
            # Lists without titles are better than none.
            _LOG.warning("no more titles: %s", error)
        finally:
            self._follower.close()

    def _take(self, key: bytes | str | None, value: bytes | str | None) -> None:
        if value is None:
            if key is not None:
                self._titles.pop(key.decode() if isinstance(key, bytes) else key, None)
            return
        try:
            item = self._decode(value if isinstance(value, bytes) else value.encode())
        except DECODE_ERRORS:
            return  # the worker has said so
        self._titles[item.item_id] = item.title
        self._titles.move_to_end(item.item_id)
        if len(self._titles) > self._most:
            self._titles.popitem(last=False)
