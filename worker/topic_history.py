"""The history of `catalog` and `clickstream` as arrays: what files hold, read from the topics."""

from __future__ import annotations

import hashlib
import time
from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from confluent_kafka import Message
from numpy.typing import NDArray

from schemas.catalog import CatalogItem, category_text, item_text
from schemas.clickstream import EVENT_TYPE_INDEX, SUPPORT_TYPES, EventType
from schemas.codec import Codec, build_codec
from schemas.errors import DataError
from schemas.settings import Settings
from schemas.topics import Topic
from worker.catalogue import ItemChange
from worker.catalogue_follower import item_change
from worker.data import EventLog, ItemTable
from worker.event_arrays import by_first_appearance
from worker.kafka_connection import connect
from worker.model.bundle import OffsetRange, TopicRange
from worker.privacy.admission import RequestsSoFar
from worker.stages.decode import Decoder, EventColumns, position
from worker.topic_span import TopicSpan

LEFT_OUT = {
    "unusable_items": "catalogue records that cannot be used",
    "unusable_events": "events that cannot be used",
    "without_consent": "without consent",
    "barred": "of users who asked to be erased, or withdrew consent",
    "no_evidence": "of a type that is no evidence of liking an item",
    "unknown_items": "on items that the catalogue does not hold",
    "duplicates": "duplicates by event_id",
}
"""Why records are left out, in the order of the checks: name in the manifest → words."""

# A search says nothing of one item; the worker does not adapt to it either.
_EVIDENCE = SUPPORT_TYPES - {EventType.SEARCH}
_DIGEST_BYTES = 16


@dataclass(frozen=True)
class TopicHistory:
    """A catalogue, the events on it, and what of the topics they were read from."""

    items: ItemTable
    """By the position (partition, offset) of each item's latest record."""
    log: EventLog
    """By event time; events of the same time by partition and offset."""
    items_range: TopicRange
    events_range: TopicRange
    left_out: dict[str, int]
    """By the names in `LEFT_OUT`."""


def read_history(
    settings: Settings,
    on_phase: Callable[[str, int], None] = lambda name, total: None,
    on_step: Callable[[int], None] = lambda steps: None,
) -> TopicHistory:
    """Read both topics from their beginning to the ends that they have now; commit no offsets.

    Args:
        settings: all of them.
        on_phase: told of each topic and of how many offsets there are to read.
        on_step: told how many offsets more are read.

    Raises:
        BrokerError: the brokers cannot be reached, or a topic does not exist or cannot be read.
        DataError: there are no items, or no events on them.
        RegistryError: the schema registry cannot be asked.
        SettingsError: librdkafka refuses a property, or the wire format's settings are wrong.
    """
    codec = build_codec(settings.wire)
    replicas = connect(settings.kafka).replicas
    catalog_topic = TopicSpan(settings, Topic.CATALOG, replicas)
    try:
        click_topic = TopicSpan(settings, Topic.CLICKSTREAM, replicas)
        try:
            catalogue = _CatalogueRecords(codec)
            catalog_topic.read(catalogue.take, on_phase, on_step)
            items = catalogue.table()
            if not len(items):
                raise DataError(
                    f"topic {catalog_topic.name} holds no items"
                    f" ({catalogue.unusable:,} records cannot be used); publish the catalogue first"
                )
            requests = RequestsSoFar(settings, codec, replicas, on_phase, on_step)
            events = _EventRecords(settings, codec, items, requests)
            click_topic.read(events.take, on_phase, on_step)
        finally:
            click_topic.close()
    finally:
        catalog_topic.close()
    log = events.log()
    counts = Counter(unusable_items=catalogue.unusable) + events.left_out
    left_out = {reason: counts[reason] for reason in LEFT_OUT}
    if not len(log):
        raise DataError(
            f"topic {click_topic.name} holds no events to train on ({left_out_text(left_out)});"
            " publish clicks first, or name the topic's brokers and prefix"
        )
    return TopicHistory(items, log, _ranges(catalog_topic), _ranges(click_topic), left_out)


def left_out_text(left_out: Mapping[str, int]) -> str:
    """Return in words how many records were left out, and why."""
    parts = [f"{count:,} {LEFT_OUT.get(reason, reason)}" for reason, count in left_out.items()]
    return f"left out: {', '.join(parts)}"


def _ranges(span: TopicSpan) -> TopicRange:
    """Return what was read, for the manifest."""
    return TopicRange(
        topic=span.name,
        partitions=[
            OffsetRange(partition=number, first=offsets.start, end=offsets.stop)
            for number, offsets in span.offsets.items()
        ],
    )


class _CatalogueRecords:
    """The items that the catalogue's records add up to."""

    def __init__(self, codec: Codec) -> None:
        self._decode = codec.decoder(CatalogItem)
        self._items: dict[str, tuple[int, int, str, str]] = {}
        self.unusable = 0

    def take(self, messages: list[Message]) -> None:
        for message in messages:
            change = item_change(message, self._decode)
            if not isinstance(change, ItemChange):
                self.unusable += 1
            elif change.item is None:
                self._items.pop(change.item_id, None)
            else:
                texts = item_text(change.item), category_text(change.item)
                self._items[change.item_id] = (*position(message), *texts)

    def table(self) -> ItemTable:
        # The position of the latest record: compaction does not change it.
        ordered = sorted(self._items, key=lambda item_id: self._items[item_id][:2])
        found = [self._items[item_id] for item_id in ordered]
        return ItemTable(ordered, [item[2] for item in found], [item[3] for item in found])


class _EventRecords:
    """The usable events of the records, a few bytes each, in the order of reading."""

    def __init__(
        self, settings: Settings, codec: Codec, items: ItemTable, requests: RequestsSoFar
    ) -> None:
        self._requests = requests
        self._decoder = Decoder(
            codec,
            max_bytes=settings.worker.max_event_bytes,
            max_future_ms=settings.worker.max_future_seconds * 1000,
            now_ms=lambda: time.time_ns() // 1_000_000,
        )
        self._item_codes = {item_id: code for code, item_id in enumerate(items.item_ids)}
        self._user_codes: dict[str, int] = {}
        self._users = array("i")
        self._items = array("i")
        self._types = array("b")
        self._times = array("q")
        self._partitions = array("i")
        self._digests = bytearray()
        self.left_out: Counter[str] = Counter()

    def take(self, messages: list[Message]) -> None:
        decoded = self._decoder.decode(messages)
        self.left_out["unusable_events"] += len(decoded.dead_letters)
        self.left_out["without_consent"] += decoded.without_consent
        events, barred = self._requests.admit(decoded.events)
        self.left_out["barred"] += barred
        for i in range(len(events)):
            self._add(events, i)

    def log(self) -> EventLog:
        """Return the events, each event_id's first, by time; count the duplicates."""
        if not self._users:
            none = np.empty(0, np.int32)
            return EventLog(none, none, np.empty(0, np.int8), np.empty(0, np.int64), [])
        # Records of a partition come in order, so this is the order by partition and offset.
        order = np.argsort(np.asarray(self._partitions), kind="stable")
        digests = np.frombuffer(self._digests, np.uint64).reshape(len(order), -1)
        order = order[_first_of_equals(digests[order])]
        self.left_out["duplicates"] = len(self._users) - len(order)
        times = np.asarray(self._times)
        order = order[np.argsort(times[order], kind="stable")]
        users, present = by_first_appearance(np.asarray(self._users)[order])
        names = list(self._user_codes)
        return EventLog(
            users=users,
            items=np.asarray(self._items)[order],
            types=np.asarray(self._types)[order],
            times=times[order],
            user_ids=[names[code] for code in present],
        )

    def _add(self, events: EventColumns, i: int) -> None:
        item_id = events.item_ids[i]
        if item_id is None or events.types[i] not in _EVIDENCE:
            self.left_out["no_evidence"] += 1
            return
        item = self._item_codes.get(item_id)
        if item is None:
            self.left_out["unknown_items"] += 1
            return
        user = self._user_codes.setdefault(events.user_ids[i], len(self._user_codes))
        self._users.append(user)
        self._items.append(item)
        self._types.append(EVENT_TYPE_INDEX[events.types[i]])
        self._times.append(events.times[i])
        self._partitions.append(events.partitions[i])
        # A digest takes a tenth of the id as an object; 128 bits do not collide by chance.
        event_id = events.event_ids[i].encode()
        self._digests += hashlib.blake2b(event_id, digest_size=_DIGEST_BYTES).digest()


def _first_of_equals(keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Mark the rows that equal no row before them: (n, 2) → (n,)."""
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    ordered = keys[order]
    again = (ordered[1:] == ordered[:-1]).all(axis=1)
    first = np.ones(len(keys), np.bool_)
    first[order[1:][again]] = False
    return first
