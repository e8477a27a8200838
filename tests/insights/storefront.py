"""Made-up traffic: what users of a storefront do, and what a worker answers."""

from __future__ import annotations

import random
import time
import uuid
from dataclasses import dataclass, field

import msgspec
from confluent_kafka import Producer

from schemas.clickstream import ClickstreamEvent, EventType
from schemas.codec import JsonCodec
from schemas.recommendations import (
    Adaptation,
    Reason,
    ReasonKind,
    Recommendation,
    RecommendedItem,
)
from schemas.settings import Settings
from schemas.topics import Topic

_DAY_MS = 86_400_000
_TYPES = (
    [EventType.VIEW] * 8
    + [EventType.CLICK] * 3
    + [EventType.ADD_TO_CART] * 3
    + [EventType.PURCHASE] * 2
    + [EventType.IMPRESSION, EventType.REMOVE_FROM_CART, EventType.SEARCH, EventType.REVIEW]
)
_CODEC = JsonCodec()


@dataclass
class Traffic:
    """Records in the order of publication: (key, value) each."""

    events: list[ClickstreamEvent] = field(default_factory=list)
    recommendations: list[Recommendation] = field(default_factory=list)


def traffic(seed: int, number: int, users: int = 60, items: int = 80, cohorts: int = 1) -> Traffic:
    """Return events over three days, each answered by a list; a cohort of users after the other."""
    rng = random.Random(seed)
    names = [f"item-{n}" for n in range(items)]
    now = int(time.time() * 1000) - 3 * _DAY_MS
    made = Traffic()
    lists: dict[str, list[Recommendation]] = {}
    for n in range(number):
        now += rng.choice([0, 1, 20_000, 3 * _DAY_MS // number])
        user = f"user-{n * cohorts // number}-{rng.randrange(users // cohorts)}"
        event = _event(rng, user, now - rng.choice([0, 0, 0, 5_000]), names, lists)
        made.events.append(event)
        if rng.random() < 0.03:
            made.events.append(event)  # published twice
        answer = _answer(rng, event, names)
        lists.setdefault(user, []).append(answer)
        made.recommendations.append(answer)
        if rng.random() < 0.03:
            made.recommendations.append(answer)
    return made


def _event(rng, user, time_ms, names, lists) -> ClickstreamEvent:
    kind = rng.choice(_TYPES)
    item, cause = rng.choice(names), None
    earlier = lists.get(user, [])
    if earlier and rng.random() < 0.6:
        shown = rng.choice(earlier[-4:])
        item = rng.choice(shown.items).item_id
        cause = shown.recommendation_id if rng.random() < 0.5 else None
    if rng.random() < 0.02:
        cause = "another-recommender"
    sold = kind is EventType.PURCHASE and rng.random() < 0.9
    return ClickstreamEvent(
        event_id=str(uuid.UUID(int=rng.getrandbits(128))),
        user_id=user,
        type=kind,
        time=time_ms,
        item_id=None if kind is EventType.SEARCH else item,
        query="shoes" if kind is EventType.SEARCH else None,
        price=round(rng.uniform(1, 90), 2) if sold else None,
        currency=rng.choice(["EUR", "USD", None]) if sold else None,
        quantity=rng.choice([None, 1, 3]) if sold else None,
        surface=rng.choice([None, "home", "search", "product"]),
        recommendation_id=cause,
        consent=rng.random() > 0.02,
    )


def _answer(rng, event: ClickstreamEvent, names) -> Recommendation:
    listed = rng.sample(names, 8)
    return Recommendation(
        recommendation_id=str(uuid.UUID(int=rng.getrandbits(128))),
        user_id=event.user_id,
        items=[
            RecommendedItem(item_id=item, score=1.0, reason=Reason(kind=ReasonKind.START))
            for item in listed
        ],
        events_seen=1,
        caused_by=event.event_id,
        adaptation=Adaptation(steps=1),
        model_version="1",
        variant="b" if sum(event.user_id.encode()) % 2 else "a",
        event_time=event.time,
        produced_at=event.time + 20,
    )


def publish_events(settings: Settings, events: list[ClickstreamEvent]) -> None:
    """Publish events, and with them what cannot be used."""
    topic = settings.kafka.topic(Topic.CLICKSTREAM)
    producer = Producer(settings.kafka.producer_config())
    for n, event in enumerate(events):
        producer.produce(topic, key=event.user_id, value=_CODEC.encode(topic, event))
        if n % 97 == 0:
            producer.produce(topic, key=event.user_id, value=b"{")
        if n % 1000 == 0:
            producer.poll(0)
    assert producer.flush(30) == 0


def publish_recommendations(settings: Settings, messages: list[Recommendation]) -> None:
    """Publish in transactions, each followed by one that is aborted."""
    topic = settings.kafka.topic(Topic.RECOMMENDATIONS)
    producer = Producer(
        settings.kafka.producer_config(**{"transactional.id": f"storefront-{uuid.uuid4()}"})
    )
    producer.init_transactions(30)
    size = max(1, len(messages) // 12)
    for start in range(0, len(messages), size):
        chunk = messages[start : start + size]
        producer.begin_transaction()
        for message in chunk:
            producer.produce(topic, key=message.user_id, value=_CODEC.encode(topic, message))
            producer.poll(0)
        producer.commit_transaction(30)
        producer.begin_transaction()
        never = msgspec.structs.replace(
            chunk[0], recommendation_id=f"aborted-{start}", variant="never"
        )
        producer.produce(topic, key=never.user_id, value=_CODEC.encode(topic, never))
        producer.flush(10)
        producer.abort_transaction(30)
