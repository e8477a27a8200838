"""Follows the `catalog` topic: whole before the first event, then ahead of every micro-batch."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable

from confluent_kafka import Message

from schemas.catalog import CatalogItem
from schemas.codec import DECODE_ERRORS, Codec, decode_error
from worker.catalogue import Catalogue, ItemChange
from worker.metrics import CatalogueChange, ItemAvailability, WorkerMetrics
from worker.topic_reader import PartitionReader

_LOG = logging.getLogger(__name__)

_CHUNK = 512
_WAIT_S = 0.1
_PROGRESS_S = 5.0
_WARNINGS_PER_READ = 3
MOST_BYTES = 256 * 1024
"""Larger records are no items: categories and attributes have no bound of their own."""


class CatalogueFollower:
    """Keeps a `Catalogue` level with the `catalog` topic.

    A record that cannot be read, or whose key is not its item id, is counted, logged without its
    content and otherwise ignored.

    Args:
        reader: of the topic; this object adds all its partitions.
        partitions: how many the topic has.
        codec: the wire format.
        catalogue: kept level.
        metrics: of the catalogue.
    """

    def __init__(
        self,
        reader: PartitionReader,
        partitions: int,
        codec: Codec,
        catalogue: Catalogue,
        metrics: WorkerMetrics,
    ) -> None:
        self._reader = reader
        self._decode = codec.decoder(CatalogItem)
        self._catalogue = catalogue
        self._metrics = metrics
        reader.add(range(partitions))

    def catch_up(self, timeout_s: float, stop: threading.Event, *, wait_s: float = 0.0) -> bool:
        """Read on until the end of the topic, `timeout_s` is over or `stop` is set.

        Args:
            timeout_s: bound on the whole, seconds. What is not read by then is read next time.
            stop: ends the reading early.
            wait_s: how long to wait for a first record, seconds.

        Returns:
            Whether the end was reached.
        """
        begin = reported = time.monotonic()
        read = 0
        while not stop.is_set():
            messages = self._reader.read(_CHUNK, _WAIT_S if self._reader.behind else wait_s)
            read += len(messages)
            self._apply(messages)
            now = time.monotonic()
            if not self._reader.behind:
                break
            if now - begin > timeout_s:
                _LOG.warning(
                    "the catalogue is not read to its end after %.0f s; events go on with the %d "
                    "items that are there",
                    timeout_s,
                    len(self._catalogue),
                )
                break
            if now - reported > _PROGRESS_S:
                reported = now
                _LOG.info("reading the catalogue: %d records so far", read)
        return not self._reader.behind

    def _apply(self, messages: list[Message]) -> None:
        if not messages:
            return
        changes, problems = self._changes(messages)
        done = self._catalogue.apply(changes)
        done[CatalogueChange.INVALID] += len(problems)
        for change, count in done.items():
            self._metrics.catalogue_records.labels(change.value).inc(count)
        for problem in problems[:_WARNINGS_PER_READ]:
            _LOG.warning("a catalogue record cannot be used: %s", problem)
        if len(problems) > _WARNINGS_PER_READ:
            _LOG.warning("%d more like it", len(problems) - _WARNINGS_PER_READ)
        available = self._catalogue.available_count
        for state, count in (
            (ItemAvailability.AVAILABLE, available),
            (ItemAvailability.UNAVAILABLE, len(self._catalogue) - available),
        ):
            self._metrics.catalogue_items.labels(state.value).set(count)

    def _changes(self, messages: Iterable[Message]) -> tuple[list[ItemChange], list[str]]:
        changes, problems = [], []
        for message in messages:
            change = item_change(message, self._decode)
            if isinstance(change, ItemChange):
                changes.append(change)
            else:
                problems.append(f"offset {message.offset()}: {change}")
        return changes, problems


def item_change(message: Message, decode: Callable[[bytes], CatalogItem]) -> ItemChange | str:
    """Return the change that a record makes, or what is wrong with the record."""
    key, value = message.key(), message.value()
    try:
        item_id = (key or b"").decode()
    except UnicodeDecodeError:
        return "its key is not UTF-8"
    if not item_id:
        return "its key is empty; it must be the item_id"
    if value is None:
        return ItemChange(item_id, None)
    item = _decoded(value, decode)
    if isinstance(item, CatalogItem) and item.item_id != item_id:
        return "its key is not its item_id"
    return ItemChange(item_id, item) if isinstance(item, CatalogItem) else item


def _decoded(value: bytes, decode: Callable[[bytes], CatalogItem]) -> CatalogItem | str:
    if len(value) > MOST_BYTES:
        return f"its value has {len(value)} bytes; at most {MOST_BYTES} are read"
    try:
        return decode(value)
    except DECODE_ERRORS as error:
        return str(decode_error(error, value))
