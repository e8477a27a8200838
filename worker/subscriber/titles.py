"""Items' titles from the topic `catalog`."""

from __future__ import annotations

from collections import OrderedDict

from schemas.catalog import CatalogItem
from schemas.settings import Settings
from schemas.topics import Topic
from worker.topic_thread import TopicThread


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
        self._titles: OrderedDict[str, str] = OrderedDict()
        self._thread = TopicThread(
            settings,
            Topic.CATALOG,
            CatalogItem,
            put=self._put,
            remove=self._remove,
            name="titles",
            once_ended="no more titles",  # lists without them are better than none
            refresh_s=settings.subscriber.refresh_seconds,
        )
        self._thread.start()

    def __len__(self) -> int:
        return len(self._titles)

    def of(self, item_id: str) -> str | None:
        """Return an item's title; None if it has none, or is not known."""
        return self._titles.get(item_id) or None

    def wait(self, timeout: float) -> bool:
        """Wait until the topic is read to the end that it had; return whether it is."""
        return self._thread.wait(timeout)

    def close(self) -> None:
        """Stop following."""
        self._thread.close()

    def _put(self, item: CatalogItem) -> None:
        self._titles[item.item_id] = item.title
        self._titles.move_to_end(item.item_id)
        if len(self._titles) > self._most:
            self._titles.popitem(last=False)

    def _remove(self, item_id: str) -> None:
        self._titles.pop(item_id, None)
