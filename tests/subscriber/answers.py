"""Recommendations as a worker would publish them, and publishing them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import count

from confluent_kafka import KafkaError, Message, Producer

from schemas.catalog import CatalogItem
from schemas.codec import build_codec
from schemas.recommendations import (
    Adaptation,
    Reason,
    ReasonKind,
    Recommendation,
    RecommendedItem,
)
from schemas.settings import Settings
from schemas.topics import Topic

_number = count()


def answer(
    user_id: str,
    event_id: str,
    *,
    items: Iterable[str] = ("p-1", "p-2"),
    recommendation_id: str | None = None,
    **changes: object,
) -> Recommendation:
    """Return a recommendation for an event that has just been."""
    now = time.time_ns() // 1_000_000
    listed = [
        RecommendedItem(
            item_id=item, score=2.0 - n, reason=Reason(kind=ReasonKind.SIMILAR_TO, item_id="p-9")
        )
        for n, item in enumerate(items)
    ]
    return Recommendation(
        **{
            "recommendation_id": recommendation_id or f"r-{next(_number)}",
            "user_id": user_id,
            "items": listed,
            "events_seen": 1,
            "caused_by": event_id,
            "adaptation": Adaptation(steps=1, support_loss_before=3.0, support_loss_after=2.0),
            "model_version": "m-1",
            "variant": "default",
            "event_time": now - 20,
            "produced_at": now,
            **changes,
        }
    )


def _send(settings: Settings, topic: Topic, records: list[tuple[str, bytes | None]]) -> None:
    def on_delivery(error: KafkaError | None, _: Message) -> None:
        assert error is None, error

    producer = Producer(settings.kafka.producer_config())
    for key, value in records:
        producer.produce(settings.kafka.topic(topic), key=key, value=value, on_delivery=on_delivery)
    assert producer.flush(30) == 0


def publish(settings: Settings, *found: Recommendation | bytes | str) -> None:
    """Publish recommendations, raw values, and for a user's id a record without a value."""
    codec = build_codec(settings.wire)
    name = settings.kafka.topic(Topic.RECOMMENDATIONS)
    records: list[tuple[str, bytes | None]] = []
    for each in found:
        if isinstance(each, str):
            records.append((each, None))
        elif isinstance(each, bytes):
            records.append(("someone", each))
        else:
            records.append((each.user_id, codec.encode(name, each)))
    _send(settings, Topic.RECOMMENDATIONS, records)


def publish_titles(settings: Settings, titles: dict[str, str | None]) -> None:
    """Publish items with these titles; None removes one."""
    codec = build_codec(settings.wire)
    name = settings.kafka.topic(Topic.CATALOG)
    records = [
        (
            item_id,
            None
            if title is None
            else codec.encode(name, CatalogItem(item_id=item_id, title=title)),
        )
        for item_id, title in titles.items()
    ]
    _send(settings, Topic.CATALOG, records)
